"""Pairs of real verse and the same verse spoilt: its words in disorder, or a line said twice."""

import re
from collections.abc import Callable, Iterator, Sequence
from random import Random

from makar.core.keys import key_of
from makar.data.ask_text import Record, Words, ask_topic
from makar.data.document import Document

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def ask_disorder(document: Document, words: Words) -> Iterator[Record]:
    """A poem's beginning, preferred to the same with its words in disorder: inside the lines, or at their ends."""
    return preferred(document, words, lambda lines, draw: draw.choice((inside, at_ends))(lines, draw))


def ask_echo(document: Document, words: Words) -> Iterator[Record]:
    """A poem's beginning, preferred to the same with one line given up for an earlier one, said again.

    Each line is good verse and rhymes as before: a model of language takes either for the likelier as often as not.
    """
    return preferred(document, words, echoed)


def preferred(
    document: Document, words: Words, spoil: Callable[[Sequence[str], Random], list[str]]
) -> Iterator[Record]:
    """A poem's beginning, preferred to its own lines after something was done to them, if it made a difference."""
    for record in ask_topic(document, words):
        question, answer = record["messages"]
        spoilt = "\n".join(spoil(answer["content"].split("\n"), Random(key_of(0, document.id))))
        if spoilt != answer["content"]:
            rejected = {"role": "assistant", "content": spoilt}
            yield {"prompt": [question], "chosen": [answer], "rejected": [rejected]}


def inside(lines: Sequence[str], draw: Random) -> list[str]:
    """Each line with the words between its first and its last shuffled: its capital and its end stay."""
    return [exchanged([line], [list(WORD.finditer(line))[1:-1]], draw)[0] for line in lines]


def at_ends(lines: Sequence[str], draw: Random) -> list[str]:
    """The lines with their last words exchanged; marks after them stay."""
    return exchanged(lines, [list(WORD.finditer(line))[-1:] for line in lines], draw)


def echoed(lines: Sequence[str], draw: Random) -> list[str]:
    """The lines with one between the second and the last replaced by that two before it, as rhymes often stand."""
    places = [place for place, line in enumerate(lines) if line.strip()]  # what is empty parts stanzas
    made = list(lines)
    if len(places) > 3:
        number = draw.randrange(2, len(places) - 1)
        made[places[number]] = lines[places[number - 2]]
    return made


def exchanged(lines: Sequence[str], places: Sequence[Sequence[re.Match[str]]], draw: Random) -> list[str]:
    """Lines with the words at some places dealt out anew among these places.

    Args:
        lines: Of one poem.
        places: For each line the words that take part.
        draw: Deals them out.
    """
    dealt = [match.group() for line in places for match in line]
    draw.shuffle(dealt)
    words, made = iter(dealt), list[str]()
    for line, matches in zip(lines, places, strict=True):
        pieces, done = list[str](), 0
        for match in matches:
            pieces += [line[done : match.start()], next(words)]
            done = match.end()
        made.append("".join([*pieces, line[done:]]))
    return made

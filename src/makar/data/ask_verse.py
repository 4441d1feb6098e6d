"""Pairs of real verse and the same verse in disorder: the same words, the same marks, no sense or no rhyme."""

import re
from collections.abc import Iterator, Sequence
from random import Random

from makar.core.keys import key_of
from makar.data.ask_text import Record, Words, ask_topic
from makar.data.document import Document

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def ask_disorder(document: Document, words: Words) -> Iterator[Record]:
    """A poem's beginning, preferred to the same with its words in disorder: inside the lines, or at their ends."""
    for record in ask_topic(document, words):
        question, answer = record["messages"]
        draw = Random(key_of(0, document.id))
        disorder = draw.choice((inside, at_ends))
        spoilt = "\n".join(disorder(answer["content"].split("\n"), draw))
        if spoilt != answer["content"]:
            rejected = {"role": "assistant", "content": spoilt}
            yield {"prompt": [question], "chosen": [answer], "rejected": [rejected]}


def inside(lines: Sequence[str], draw: Random) -> list[str]:
    """Each line with the words between its first and its last shuffled: its capital and its end stay."""
    return [exchanged([line], [list(WORD.finditer(line))[1:-1]], draw)[0] for line in lines]


def at_ends(lines: Sequence[str], draw: Random) -> list[str]:
    """The lines with their last words exchanged; marks after them stay."""
    return exchanged(lines, [list(WORD.finditer(line))[-1:] for line in lines], draw)


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

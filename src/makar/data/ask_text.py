"""Questions whose answer is a poem, or a paragraph's own first sentence.

What a poem is about is read from counts over the whole corpus: a topic is a word that is common in the poem, rare
elsewhere, and used as a noun.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from makar.core.keys import key_of
from makar.data.document import Document

Record = Mapping[str, Any]
"""One conversation: {"messages": [{"role", "content"}, ...]}."""

WORD = re.compile(r"[a-z]+(?:['’][a-z]+)?")

_DETERMINERS = "the a an my thy his her its our their your this that these those no every each some"
_CLOSED = """
i thou he she it we ye you they me thee him us them mine thine hers ours yours theirs who whom whose which what
and or but nor if then than though while when where why how as at by for from in into of off on onto out over to
under up upon with without within through down near against among between beneath behind before after till until
since is are was were be been being am art wert has have had hath hast do does did doth dost shall will would should
may might must can could not never ever so too now here there again yet still all any both more most such own same
"""
_VAGUE = "other others rest thing things part last past right left best worst way side place end ends cause"

DETERMINERS = frozenset(_DETERMINERS.split())
FUNCTION_WORDS = DETERMINERS | frozenset(_CLOSED.split())
VAGUE = frozenset(_VAGUE.split())
"""Used as nouns, and no topic of a poem."""

ANSWER_LINES = 16
"""Lines of a poem that an answer holds at most: it must come to its end within a row."""

SENTENCE_END = re.compile(r"[.!?][\"'”’)]*$")


@dataclass(frozen=True)
class Words:
    """What a corpus says of its words.

    Args:
        documents: How many documents there are.
        containing: In how many of them a word stands.
        count: How often a word stands anywhere.
        noun: How often with a determiner before it, and after it a function word or the end of the line.
        the: How often after "the".
        a: How often after "a" or "an".
    """

    documents: int = 0
    containing: Counter[str] = field(default_factory=Counter[str])
    count: Counter[str] = field(default_factory=Counter[str])
    noun: Counter[str] = field(default_factory=Counter[str])
    the: Counter[str] = field(default_factory=Counter[str])
    a: Counter[str] = field(default_factory=Counter[str])

    def named(self, word: str) -> str:
        """A noun with the article that it mostly has: "the moon", "a rose", "love"."""
        total = self.count[word] or 1
        if self.the[word] / total >= MOSTLY_THE:
            return f"the {word}"
        if self.a[word] / total >= MOSTLY_A:
            return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
        return word


MOSTLY_THE, MOSTLY_A, NOUN, COMMON = 0.25, 0.2, 0.12, 1e-3
"""Shares: of "the" and of "a" before a word that keeps it; of uses as a noun; of documents that know a fit topic."""


def count_words(texts: Iterable[str]) -> Words:
    """Count a corpus, text by text, line by line."""
    found, documents = Words(), 0
    for text in texts:
        documents += 1
        seen: set[str] = set()
        for line in text.lower().split("\n"):
            words = WORD.findall(line)
            seen.update(words)
            found.count.update(words)
            for before, word, after in zip(words, words[1:], [*words[2:], ""], strict=False):
                if before in DETERMINERS and word not in FUNCTION_WORDS:
                    found.noun[word] += not after or after in FUNCTION_WORDS
                    found.the[word] += before == "the"
                    found.a[word] += before in ("a", "an")
        found.containing.update(seen)
    return Words(documents, found.containing, found.count, found.noun, found.the, found.a)


def topic(text: str, words: Words) -> str | None:
    """The noun that a text is about, or None if none stands out.

    Repeated in it, rare elsewhere: frequency times the logarithm of the inverse document frequency.
    """
    here = Counter(WORD.findall(text.lower()))
    best, score = None, 0.0
    for word, times in here.items():
        share = words.containing[word] / max(1, words.documents)
        if times < 2 or len(word) < 3 or share < COMMON or word in FUNCTION_WORDS or word in VAGUE:
            continue
        nounness = words.noun[word] / words.count[word]
        value = times * -math.log(share) * min(1.0, nounness / 0.3)
        if nounness >= NOUN and value > score:
            best, score = word, value
    return best


POEM_REQUESTS = (
    "Write a poem about {}.",
    "Write a poem about {}.",
    "Write a poem about {}.",
    "Write a short poem about {}.",
    "Please write some verses about {}.",
    "Can you write a poem on the theme of {}?",
    "I would like to read a poem about {}.",
    "Compose a few lines of verse about {}.",
)


def ask_topic(document: Document, words: Words) -> Iterator[Record]:
    """A poem's beginning, up to the end of a sentence, as the answer to "Write a poem about" what it speaks of."""
    lines = document.text.split("\n")[:ANSWER_LINES]
    ends = [number for number, line in enumerate(lines, 1) if SENTENCE_END.search(line)]
    if not ends or ends[-1] < 4:
        return
    answer = "\n".join(lines[: ends[-1]])
    found = topic(answer, words)
    if found is not None:
        yield conversation(pick(POEM_REQUESTS, document.id).format(words.named(found)), answer)


SUMMARY_REQUESTS = ("Summarise this in one sentence:\n\n{}", "What does this say, in one sentence?\n\n{}")
SENTENCES = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def ask_summary(document: Document, words: Words) -> Iterator[Record]:  # noqa: ARG001
    """A paragraph's first sentence as the summary of the rest: good paragraphs say first what they are about."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", document.text)):
        sentences = SENTENCES.split(" ".join(paragraph.split()))
        rest = " ".join(sentences[1:])
        if len(sentences) >= 4 and 20 <= len(sentences[0]) <= 200 and len(rest) <= 1200:
            yield conversation(pick(SUMMARY_REQUESTS, f"{document.id}/{number}").format(rest), sentences[0])


def conversation(question: str, answer: str) -> Record:
    """One question and its answer."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def pick(choices: tuple[str, ...], key: str) -> str:
    """One of them, always the same for the same key."""
    return choices[key_of(0, key) % len(choices)]

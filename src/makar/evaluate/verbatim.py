"""What stands word for word in the training text: runs, lines and windows, and where they stand.

Case, punctuation and line breaks are passed over, so that a copy with another comma is still a copy. The training
text is read once, document by document, against the samples, which are few: memory holds the samples and one batch of
text, whatever the corpus. Windows of the text are looked up by a 64-bit hash; each hit is then compared word by
word, so that a collision can never count.

Paper: Lee et al. 2021, arXiv 2107.06499, section 6.2 (exact substrings as memorisation), with words for tokens.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from makar.measure.text import plain_words

WINDOW = 8
"""Words in the shortest run that counts: real verse of other hands shares few runs of eight."""

LINE = 4
"""Words in the shortest line that counts: shorter ones come again by chance."""

BATCH = 1 << 18
"""Words of training text hashed at a time."""

MULTIPLIER = 0x9E3779B97F4A7C15
FILTER_BITS = 22

Ids = NDArray[np.uint64]


@dataclass(frozen=True)
class Run:
    """A stretch of a sample that stands in the training text.

    Args:
        words: Its length.
        start: Its first word in the sample, from 0.
        document: The id of the first training document that holds it.
        document_start: Its first word there, from 0.
        text: The words, as compared.
    """

    words: int
    start: int
    document: str
    document_start: int
    text: str


@dataclass
class Copied:
    """How much of one sample stands in the training text.

    Args:
        words: Words of the sample.
        covered: For each word, whether a run of at least a window holds it.
        windows: For each window, whether it stands in the training text.
        lines: Lines of at least four words: how often each comes in the sample.
        copied_lines: How many of those stand whole, as a line, in the training text.
        longest: The longest run; None where none reaches a window.
    """

    words: int
    covered: NDArray[np.bool_]
    windows: NDArray[np.bool_]
    lines: int
    copied_lines: int = 0
    longest: Run | None = None


@dataclass(frozen=True)
class Verbatim:
    """How much of some samples stands in the training text, word for word.

    Args:
        samples: How many samples.
        window: Words in the shortest run that counts.
        samples_copied: Share of samples with such a run.
        longer: Share of samples with a run of at least so many words: twice the window, four and eight times.
        windows_copied: Share of all windows of that many words.
        words_copied: Share of words inside such runs.
        lines: Lines of at least four words.
        lines_copied: Share of those lines that stand whole, as a line.
        mean_longest: Mean over samples of the longest run, in words; 0 for a sample without one.
        longest: The longest run of all, with where it stands.
    """

    samples: int
    window: int
    samples_copied: float
    longer: Mapping[int, float]
    windows_copied: float
    words_copied: float
    lines: int
    lines_copied: float
    mean_longest: float
    longest: Run | None


def verbatim(copied: Sequence[Copied], window: int = WINDOW) -> Verbatim:
    """Sum up over samples what `find_copies` found for each."""
    windows = sum(len(each.windows) for each in copied)
    lines = sum(each.lines for each in copied)
    runs = [each.longest for each in copied if each.longest]
    return Verbatim(
        samples=len(copied),
        window=window,
        samples_copied=len(runs) / max(1, len(copied)),
        longer={
            words: sum(run.words >= words for run in runs) / max(1, len(copied))
            for words in (2 * window, 4 * window, 8 * window)
        },
        windows_copied=sum(int(each.windows.sum()) for each in copied) / max(1, windows),
        words_copied=sum(int(each.covered.sum()) for each in copied) / max(1, sum(each.words for each in copied)),
        lines=lines,
        lines_copied=sum(each.copied_lines for each in copied) / max(1, lines),
        mean_longest=sum(run.words for run in runs) / max(1, len(copied)),
        longest=max(runs, key=lambda run: run.words, default=None),
    )


def find_copies(samples: Sequence[str], training: Iterable[tuple[str, str]], window: int = WINDOW) -> list[Copied]:
    """Find what of each sample stands in the training text.

    Args:
        samples: The texts in question; all are held in memory.
        training: Pairs of id and text, read once; a run does not cross documents.
        window: Words in the shortest run that counts, from 2.
    """
    index = Index(samples, window)
    for batch in batches(training, index):
        index.search(batch)
    for each, lines in zip(index.copied, index.lines, strict=True):
        each.copied_lines = sum(line in index.found for line in lines)
    return index.copied


@dataclass
class Text:
    """Some training documents as word ids, parted by a zero, which matches nothing."""

    ids: list[int] = field(default_factory=list[int])
    names: list[str] = field(default_factory=list[str])
    starts: list[int] = field(default_factory=list[int])


class Index:
    """The samples, ready to be looked up by the windows and lines of the training text."""

    def __init__(self, samples: Sequence[str], window: int) -> None:
        self.window = window
        self.vocabulary: dict[str, int] = {}
        self.samples = [self.learn(plain_words(sample)) for sample in samples]
        self.names = {number: word for word, number in self.vocabulary.items()}
        self.lines = [[line for line in map(key_of_line, sample.splitlines()) if line] for sample in samples]
        self.wanted = {line for lines in self.lines for line in lines}
        self.found: set[str] = set()
        self.copied = [
            Copied(
                words=len(ids),
                covered=np.zeros(len(ids), bool),
                windows=np.zeros(max(0, len(ids) - window + 1), bool),
                lines=len(lines),
            )
            for ids, lines in zip(self.samples, self.lines, strict=True)
        ]
        self.places: dict[int, list[tuple[int, int]]] = {}
        for number, ids in enumerate(self.samples):
            for start, value in enumerate(hashes(np.array(ids, np.uint64), window).tolist()):
                self.places.setdefault(value, []).append((number, start))
        self.hashes = np.array(sorted(self.places), np.uint64)
        self.filter = np.zeros(1 << FILTER_BITS, bool)
        self.filter[self.hashes >> np.uint64(64 - FILTER_BITS)] = True

    def learn(self, found: Sequence[str]) -> list[int]:
        """Word ids from 1, new ones as they come. A word that no sample holds needs none."""
        return [self.vocabulary.setdefault(word, len(self.vocabulary) + 1) for word in found]

    def search(self, text: Text) -> None:
        """Look up every window of some training text, and follow each true hit to both its ends."""
        ids = np.array(text.ids, np.uint64)
        values = hashes(ids, self.window)
        likely = np.flatnonzero(self.filter[values >> np.uint64(64 - FILTER_BITS)])
        hits = likely[np.isin(values[likely], self.hashes)]
        followed: dict[tuple[int, int], int] = {}  # (sample, diagonal) to the end of the run last followed there
        for place, value in zip(hits.tolist(), values[hits].tolist(), strict=True):
            for number, start in self.places[value]:
                if place < followed.get((number, place - start), 0):
                    continue
                if text.ids[place : place + self.window] != self.samples[number][start : start + self.window]:
                    continue
                end = self.follow(text, number, place, start)
                followed[number, place - start] = end - self.window + 1

    def follow(self, text: Text, number: int, place: int, start: int) -> int:
        """Lengthen a run that begins here, and write it down; where it ends in the training text."""
        sample, copied = self.samples[number], self.copied[number]
        size = self.window
        while (
            start + size < len(sample)
            and place + size < len(text.ids)
            and sample[start + size] == text.ids[place + size]
        ):
            size += 1
        copied.covered[start : start + size] = True
        copied.windows[start : start + size - self.window + 1] = True
        if copied.longest is None or size > copied.longest.words:
            document = int(np.searchsorted(text.starts, place, "right")) - 1
            words = " ".join(self.names[number] for number in sample[start : start + size])
            copied.longest = Run(size, start, text.names[document], place - text.starts[document], words)
        return place + size


def batches(training: Iterable[tuple[str, str]], index: Index) -> Iterator[Text]:
    """The training text in bounded pieces of whole documents; marks the lines that the samples share with it."""
    text, known = Text(), index.vocabulary
    for name, body in training:
        text.names.append(name)
        text.starts.append(len(text.ids))
        for line in body.splitlines():
            found = plain_words(line)
            if len(found) >= LINE and (key := " ".join(found)) in index.wanted:
                index.found.add(key)
            text.ids += [known.get(word, 0) for word in found]
        text.ids.append(0)
        if len(text.ids) >= BATCH:
            yield text
            text = Text()
    yield text


def key_of_line(line: str) -> str:
    """A line as it is compared, or "" where it is too short to count."""
    found = plain_words(line)
    return " ".join(found) if len(found) >= LINE else ""


def hashes(ids: Ids, window: int) -> Ids:
    """A 64-bit hash of each window of word ids, `[len(ids) - window + 1]`."""
    count = max(0, len(ids) - window + 1)
    value = np.zeros(count, np.uint64)
    mixed = scramble(ids)
    for i in range(window):
        value = value * np.uint64(MULTIPLIER) + mixed[i : i + count]
    return scramble(value)


def scramble(values: Ids) -> Ids:
    """Spread the bits of each value over all 64 (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

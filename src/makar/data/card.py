"""The data card: the manifest as a page for people."""

from collections.abc import Sequence

from makar.data.held import SHARE
from makar.data.store import SPLITS, Count, Manifest

PROSE = (
    f"What shares {SHARE:.0%} or more of its word 5-grams with the test set was dropped from training and",
    "validation, and what shares as much with validation from training.",
)

LISTED = "`quarantine.jsonl` lists what could not be read: file and place, the reason, and what to do about it."

HELD = {
    "text": "",
    "chat": " (a conversation as one line of JSON)",
    "talks": " (a conversation with the pictures that it is about, as one line of JSON)",
    "preference": " (a prompt with a better and a worse answer, as one line of JSON)",
    "judged": " (a prompt with an answer and whether it is good, as one line of JSON)",
    "prompts": " (a prompt and what a reward must know of it, as one line of JSON)",
}
"""What the documents of each kind are."""


def card(manifest: Manifest) -> str:
    """A README.md for a dataset folder.

    Args:
        manifest: What was collected.
    """
    options = manifest.options
    how = (
        f"The test set is the last {options.test_fraction:.0%} of the corpus in its own order, by raw bytes"
        if options.test == "last"
        else f"Groups (books, files) go to the test set by a hash of their name ({options.test_fraction:.0%})"
    )
    rows = [
        row("read", manifest.read),
        *(row(f"dropped: {reason}", count) for reason, count in manifest.dropped.items()),
    ]
    rows += [row(f"kept: {split}", manifest.kept_raw[split]) for split in SPLITS]
    sources = [
        f"| `{source.name}` | {source.licence} | {source.bytes:,} | `{source.sha256}` |" for source in manifest.sources
    ]
    return "\n".join(
        [
            "# Data card",
            "",
            "Collected by `makar collect`; `manifest.json` beside this page says the same for machines.",
            "",
            "## Sources",
            "",
            "| source | licence as declared | bytes | SHA-256 |",
            "|---|---|---|---|",
            *sources,
            "",
            "## What became of it",
            "",
            "| | documents | bytes |",
            "|---|---|---|",
            *rows,
            "",
            *(of_pictures if manifest.kind == "image" else of_texts)(manifest, how),
            "",
        ]
    )


def of_texts(manifest: Manifest, how: str) -> Sequence[str]:
    """What is to be said of texts."""
    options = manifest.options
    return [
        "Bytes are those of the text as it was read, as UTF-8 with one newline a document. Normalisation (encoding",
        f"mended, NFC) changed {manifest.mended.documents:,} of the documents kept.",
        "",
        "## Splits",
        "",
        f"{how}; test documents are normalised and otherwise as they were, never dropped.",
        f"Validation takes {options.valid_fraction:.1%} of the groups by a hash of the name (seed {options.seed}).",
        *(PROSE if manifest.kind == "text" else ()),
        f"Dropped is every repetition: the same text, or a Jaccard similarity of word 5-grams from {options.near}.",
        LISTED,
        "",
        *(f"- {note}" for note in manifest.notes),
        "",
        "## Columns",
        "",
        f"`text`{HELD[manifest.kind]},",
        "`id` (file and place), `group` (what stays on one side of the split), `source`.",
    ]


def of_pictures(manifest: Manifest, how: str) -> Sequence[str]:
    """What is to be said of pictures."""
    options, facts = manifest.options, manifest.pictures
    assert facts is not None
    size = options.pictures.size
    shape = (
        f"Each was brought to {size} x {size} pixels (fit {options.pictures.fit}, filter {options.pictures.filter})."
        if size
        else f"Sizes are as they were, from {facts.smallest} to {facts.largest} (height, width)."
    )
    classes = ", ".join(f"{number} {name}" for number, name in enumerate(facts.classes)) or "none"
    return [
        "Bytes are those of the files as they were read. Pictures are stored upright, opaque (on "
        f"{options.pictures.background}), in sRGB,",
        f"as PNG with {'one channel' if facts.channels == 1 else 'three channels, or one where they are gray'}. "
        f"{manifest.mended.documents:,} of those kept were changed by that. {shape}",
        LISTED,
        "",
        f"Classes: {classes}. With a caption: {facts.captions:,}.",
        "",
        "## Splits",
        "",
        f"{how}; if the source gives a test set, that is it. Test pictures are never dropped.",
        f"Validation takes {options.valid_fraction:.1%} of the groups by a hash of the name (seed {options.seed}).",
        "Dropped is every repetition: the same pixels, or perceptual hashes that differ in at most "
        f"{options.pictures.near} of 64 bits",
        "where the pictures in small differ little too. So no two that look alike stand on two sides of the split.",
        "",
        *(f"- {note}" for note in manifest.notes),
        "",
        "## Columns",
        "",
        "`image` (bytes, path), `label` (number of the class), `text`, `id` (file and place), `group` (what stays on",
        "one side of the split), `source`. The library `datasets` opens the Parquet files as they are.",
    ]


def row(name: str, count: Count) -> str:
    """One line of the table of counts."""
    return f"| {name} | {count.documents:,} | {count.bytes:,} |"

"""What sources hold, by the names of their files: texts or pictures. A corpus is of one kind."""

from collections.abc import Sequence
from dataclasses import dataclass

from makar.core.errors import InputError
from makar.data.archives import UNPACKERS, Entry
from makar.data.fetch import Fetched
from makar.data.idx import IMAGES
from makar.data.picture_survey import BESIDE, NOTES, is_picture, leaves, relative, stem_of, suffix_of
from makar.data.read import READERS

FEW = 0.1
"""Files of one kind that are so few beside the other are left out and counted, as notes and icons are."""

LISTS = frozenset(("metadata.jsonl", "dataset.json", "package.json"))
"""Files about a set, which are no text of a corpus."""


@dataclass(frozen=True)
class Census:
    """How many files of each kind a source holds."""

    texts: int
    pictures: int


def kind_of_sources(sources: Sequence[Fetched]) -> str:
    """Whether a corpus is of texts or of pictures.

    Args:
        sources: Fetched; only names of files are looked at.

    Returns:
        "text" or "image".

    Raises:
        InputError: They hold both, and neither is a few beside the other.
    """
    found = [census(source) for source in sources]
    texts, pictures = sum(each.texts for each in found), sum(each.pictures for each in found)
    if not pictures or pictures < FEW * texts:
        return "text"
    if not texts or texts < FEW * pictures:
        return "image"
    most = max(range(len(found)), key=lambda number: min(found[number].texts, found[number].pictures))
    raise InputError(
        "texts and pictures together",
        where=sources[most].name,
        value=f"{texts:,} texts, {pictures:,} pictures",
        fix="collect them into datasets of their own: name a folder or file that holds one kind; a caption is named "
        "like its picture (moon.png, moon.txt)",
    )


def census(source: Fetched) -> Census:
    """What one source holds. A text beside a picture is its caption; a set in IDX is of pictures."""
    if source.path.is_file() and suffix_of(source.path.name) not in UNPACKERS:
        picture = is_picture(source.path.name)
        return Census(int(not picture), int(picture))
    texts, stems, pictures = 0, set[str](), 0
    captions = list[str]()
    for entry in leaves(source):
        if not isinstance(entry, Entry):
            continue
        path = relative(entry.name, source)
        base = path.rpartition("/")[2].lower()
        if IMAGES.search(base):
            return Census(0, 1)
        if is_picture(base):
            pictures += 1
            stems.add(stem_of(path))
        elif base in LISTS or stem_of(base) in NOTES:
            continue
        elif suffix_of(base) in BESIDE:
            captions.append(stem_of(path))
        elif suffix_of(base) in READERS or base.endswith(".pkl.compress"):
            texts += 1
    return Census(texts + sum(stem not in stems for stem in captions), pictures)

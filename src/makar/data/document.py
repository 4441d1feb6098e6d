"""What readers give: a document or a picture, or the reason why there is none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One text and where it comes from.

    Args:
        text: The text, lines joined by a newline.
        id: Unique in the dataset: the file, and the place in it.
        group: What must stay on one side of a split: a book, a file.
        source: The source as the user named it.
        kind: "text" for prose, or what `data.chats` calls a record, of which the text is then one line of JSON.
    """

    text: str
    id: str
    group: str
    source: str
    kind: str = "text"


@dataclass(frozen=True)
class Picture:
    """One picture and where it comes from.

    Args:
        image: The file, as PNG of mode L or RGB.
        label: The number of its class, if its set has classes.
        text: Its caption, if it has one.
        id: Unique in the dataset: the file, and the place in it.
        group: What must stay on one side of a split.
        source: The source as the user named it.
    """

    image: bytes
    label: int | None
    text: str | None
    id: str
    group: str
    source: str


@dataclass(frozen=True)
class Fault:
    """Something that could not be read as a document; counted, never silent.

    Args:
        reason: A few words, the key under which the manifest counts it.
        where: File and place.
        bytes: How many bytes were lost.
        fix: What a person can do about it.
    """

    reason: str
    where: str
    bytes: int
    fix: str


def size(text: str) -> int:
    """The bytes that a document counts for everywhere in makar: UTF-8, and one newline at its end."""
    return (len(text) if text.isascii() else len(text.encode())) + 1

"""Conversations about pictures as rows: what is asked and answered about scenes, and records that hold pictures."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from makar.core.errors import InputError
from makar.core.messages import Message, is_picture
from makar.core.nouns import Batch
from makar.core.random import numpy_rng
from makar.data.chats import Unfit
from makar.data.config import PictureOptions
from makar.data.document import Fault
from makar.data.pictures import decode, need_pillow, to_png
from makar.data.scene_questions import questions_of
from makar.data.scenes import Scenes

Pixels = UInt8[np.ndarray, "channels size size"]
Encode = Callable[[Sequence[Message]], tuple[list[int], list[bool]]]
Normalise = Callable[[UInt8[Tensor, "pictures channels size size"]], Float[Tensor, "pictures channels size size"]]

TWO = 0.1
"""Share of conversations about two scenes."""

SECOND = 1 << 40
"""So far behind the first scene of a conversation the second one lies in the stream."""

ORDINALS = ("first", "second")

INLINE = "data:image/"
"""How a picture begins that is written into its address."""


@dataclass(frozen=True)
class Talk:
    """One conversation.

    Args:
        messages: Whose contents may have parts that are pictures, `{"type": "image"}`.
        pictures: These pictures in order, of one size.
    """

    messages: list[Message]
    pictures: list[Pixels]


@final
class Talks:
    """A source of rows that hold a conversation each, pure in the step and of random access.

    Args:
        talk: The conversation of a number, from 0 without end.
        encode: Messages to ids, with all places of each picture, and which of them are to be learned.
        normalise: Pictures as a net sees them.
        length: Predictions in a row; a row holds one token more. A longer conversation loses its end.
        pad_id: What fills the end of a row.
        image_token: What stands in the places of pictures.
        places: Of one picture.
    """

    def __init__(
        self,
        talk: Callable[[int], Talk],
        encode: Encode,
        normalise: Normalise,
        *,
        length: int,
        pad_id: int,
        image_token: int,
        places: int,
    ) -> None:
        self.talk, self.encode, self.normalise = talk, encode, normalise
        self.length, self.pad_id, self.image_token, self.places = length, pad_id, image_token, places

    def batch(self, step: int, size: int) -> Batch:
        """The conversations `step * size` to `step * size + size`.

        Returns:
            `tokens` [size, length + 1] int64; `loss_mask` of the same shape, bool: true for what the assistant says;
            `images` [size, pictures, channels, high, wide]: of each row first those that its tokens have places for,
            then blank ones, as many as the row with most has.
        """
        tokens = np.full((size, self.length + 1), self.pad_id, np.int64)
        mask = np.zeros((size, self.length + 1), bool)
        shown: list[list[Pixels]] = []
        for line, number in enumerate(range(step * size, (step + 1) * size)):
            talk = self.talk(number)
            ids, learned = self.encode(talk.messages)
            end, count = self.cut(ids)
            tokens[line, :end], mask[line, 1:end] = ids[:end], learned[1:end]
            shown.append(talk.pictures[:count])
        most = max(1, *map(len, shown))
        blank = np.zeros_like(next((picture for pictures in shown for picture in pictures), np.zeros((3, 1, 1))))
        images = np.stack([np.stack([*pictures, *[blank] * (most - len(pictures))]) for pictures in shown])
        return {
            "tokens": torch.from_numpy(tokens),
            "loss_mask": torch.from_numpy(mask),
            "images": self.normalise(torch.from_numpy(images)),
        }

    def cut(self, ids: Sequence[int]) -> tuple[int, int]:
        """How many tokens of a conversation fit into a row without cutting a picture, and how many pictures."""
        inside = ids[: self.length].count(self.image_token)
        rest = inside % self.places
        return (self.length - rest if rest else min(len(ids), self.length + 1)), inside // self.places


def scene_talk(scenes: Scenes, turns: int, index: int) -> Talk:
    """A conversation about one scene of a stream, now and then about two, in which some of all that can be asked is.

    Args:
        scenes: The stream.
        turns: Questions at most.
        index: Of the conversation.
    """
    rng = numpy_rng(scenes.seed, "talk", index)
    numbers = [index, index + SECOND] if rng.random() < TWO else [index]
    pictures, pairs = list[Pixels](), list[tuple[str, str]]()
    for which, number in enumerate(numbers):
        pixels, _, scene = scenes.row(number)
        about = f"in the {ORDINALS[which]} picture, " if len(numbers) > 1 else ""
        pictures.append(pixels)
        pairs += [(about + question, answer) for question, answer, _ in questions_of(scene, number)]
    return Talk(dialogue([pairs[place] for place in rng.permutation(len(pairs))[:turns]], len(pictures)), pictures)


def dialogue(pairs: Sequence[tuple[str, str]], pictures: int) -> list[Message]:
    """Questions and answers in turn, behind pictures."""
    messages: list[Message] = []
    for question, answer in pairs:
        first = not messages and pictures
        text: Any = [*[{"type": "image"}] * pictures, {"type": "text", "text": question}] if first else question
        messages += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return messages


def picture_of(part: Mapping[str, Any], where: str) -> Any:
    """The picture of a part of a message.

    Args:
        part: `image` is a picture of Pillow or a tensor; or else `path`, or `image` or `url`, names a file or holds the
            picture itself as "data:image/png;base64,...".
        where: For messages.

    Raises:
        InputError: It cannot be read, or lies in the net.
    """
    names = [part[name] for name in ("image", "path", "url") if part.get(name) is not None]
    if names and not isinstance(names[0], str | Path):
        return names[0]
    if not names:
        raise InputError("no place is given", where=where, fix="give its path: {'type': 'image', 'path': ...}")
    name = str(names[0])
    if "://" in name[:16]:
        raise InputError(
            "what lies in the net is not fetched", where=where, value=name, fix="save it, and give its path"
        )
    need_pillow()
    inline = name.startswith(INLINE)
    try:
        data = base64.b64decode(name.partition(",")[2], validate=True) if inline else Path(name).read_bytes()
    except OSError as fault:
        raise InputError(
            f"cannot be read: {fault.strerror}", where=f"{where}, {name}", fix="give a PNG or JPEG file"
        ) from None
    except binascii.Error:
        raise InputError("not base64", where=where, value=name, fix="give data:image/png;base64,...") from None
    still = decode(data, where, PictureOptions())
    if isinstance(still, Fault):
        place = where if inline else f"{where}, {name}"
        raise InputError(f"cannot be read as a picture: {still.reason}", where=place, fix=still.fix)
    return still.image


def inlined(record: dict[str, Any], home: Path, where: str) -> dict[str, Any]:
    """A record with its pictures in it, so that no file can be lost: opaque, upright, as PNG in their address.

    Args:
        record: A conversation.
        home: The folder that relative paths begin from.
        where: For messages.

    Raises:
        Unfit: A picture cannot be read.
    """

    def held(part: Any) -> Any:
        if not is_picture(part):
            return part
        name = next((str(part[key]) for key in ("path", "image", "url") if part.get(key)), "")
        inside = name.startswith(INLINE) or "://" in name[:16] or not name
        try:
            picture = picture_of({"url": name if inside else home / name} if name else {}, where)
        except InputError as fault:
            raise Unfit(f"a conversation's picture: {fault.what}", fault.fix or "leave the row out") from None
        return {"type": "image", "url": f"{INLINE}png;base64,{base64.b64encode(to_png(picture)).decode()}"}

    messages = [
        {**message, "content": [*map(held, message["content"])]}
        if isinstance(message.get("content"), list)
        else message
        for message in record["messages"]
    ]
    return {**record, "messages": messages}

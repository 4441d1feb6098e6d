"""What a prompt of a family of pictures says: a class, pictures of the model's size, edits along named directions."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from makar.codecs.pixels import to_values
from makar.core.config import nearest
from makar.core.errors import InputError
from makar.core.nouns import Batch, Family

EDIT = re.compile(r"(?P<sign>[+-])(?P<name>[^=]+)(=(?P<strength>\d+(\.\d+)?))?")
"""An edit: "+NAME", "-NAME", or with a strength: "+NAME=1.5"."""


def only_gives_back(family: Family[Any]) -> bool:
    """Whether a family makes nothing by itself: what it would make of codes at random means nothing."""
    return family.reconstructs and family.log_prob is None


def parts_of(prompt: Any, known: Sequence[str]) -> Mapping[str, Any]:
    """A prompt as a table: what is no table names the class.

    Args:
        prompt: None, a class, or a table.
        known: The table's names that the family knows.

    Raises:
        InputError: It has a part that the family does not know.
    """
    if not isinstance(prompt, Mapping):
        return {"label": prompt}
    for name in prompt:
        if name not in known:
            raise InputError("unknown part of a prompt", value=name, fix=nearest(str(name), known))
    return prompt


def label_of(prompt: Any, count: int, names: Sequence[str], null: int | None) -> int:
    """The label that a prompt means; no prompt means no class.

    Args:
        prompt: The number or the name of a class, or None.
        count: Classes that the net knows; 0 for a net without classes, whose label is 0.
        names: Of the classes, where they have names.
        null: What stands for "none" in the net, if anything does.

    Raises:
        InputError: The net knows no such class, or needs one.
    """
    if prompt is None or prompt == "":
        if count and null is None:
            raise InputError("this model needs a class", fix=f"give a number from 0 to {count - 1}")
        return null or 0
    if not count:
        raise InputError("this model knows no classes", value=prompt, fix="leave the prompt out")
    if isinstance(prompt, str) and prompt in names:
        return list(names).index(prompt)
    if isinstance(prompt, str) and not prompt.isdecimal():
        fix = nearest(prompt, names) if names else f"give a number from 0 to {count - 1}"
        raise InputError("the model knows no such class", value=prompt, fix=fix)
    if isinstance(prompt, bool) or not isinstance(prompt, str | int) or not 0 <= int(prompt) < count:
        raise InputError("the model knows no such class", value=prompt, fix=f"give a number from 0 to {count - 1}")
    return int(prompt)


def fitting(picture: Any, channels: int, side: int, name: str = "picture") -> Float[Tensor, "channels side side"]:
    """A picture or a mask of the model's size, as values in -1 to 1.

    Raises:
        InputError: It is no picture, or one of another size.
    """
    values = to_values(picture, channels)
    if values.shape[1:] != (side, side):
        size = f"{values.shape[2]}x{values.shape[1]}"
        raise InputError(f"the {name} has another size than the model's", value=size, fix=f"make it {side}x{side}")
    return values


def edits_of(edits: str | Sequence[str], known: Sequence[str]) -> list[tuple[str, float]]:
    """Edits as names of directions with their strengths, below 0 for the other way.

    Args:
        edits: "+NAME", "-NAME" or "+NAME=1.5"; one of them or several.
        known: The model's directions.

    Raises:
        InputError: Not written so, or the model knows no such direction.
    """
    found: list[tuple[str, float]] = []
    for text in [edits] if isinstance(edits, str) else edits:
        match = EDIT.fullmatch(str(text))
        if match is None:
            raise InputError("not an edit", where="edit", value=text, fix="write +NAME, -NAME or +NAME=1.5")
        if match["name"] not in known:
            fix = nearest(match["name"], known)
            raise InputError("the model knows no such direction", where="edit", value=match["name"], fix=fix)
        found.append((match["name"], float(match["strength"] or 1) * (1 if match["sign"] == "+" else -1)))
    return found


def stripes() -> Batch:
    """Pictures of 8x8 for a family's `tiny`: stripes that lie or stand, the classes, at each of four places."""
    place = torch.arange(8)
    lying = torch.stack([torch.where((place + shift) % 4 < 2, 1.0, -1.0) for shift in range(4)])
    images = torch.cat((lying[:, :, None].expand(4, 8, 8), lying[:, None].expand(4, 8, 8)))[:, None].contiguous()
    return {"images": images, "label": torch.arange(8) // 4}


def towards_of(towards: Any, what: str) -> tuple[Any, float]:
    """What a prompt goes to, and how far.

    Args:
        towards: A pair of both.
        what: That the family goes to, for messages.

    Raises:
        InputError: It is no such pair, or the share lies beyond 0 to 1.
    """
    fix = f"give {what} and a share in 0 to 1"
    try:
        other, given = towards
        share = float(given)
    except (TypeError, ValueError):
        fault = f"not {what} and a share"
        raise InputError(fault, where="towards", value=type(towards).__name__, fix=fix) from None
    if not 0 <= share <= 1:
        raise InputError("a share beyond 0 to 1", where="towards", value=share, fix=fix)
    return other, share


def between(one: Float[Tensor, " size"], other: Float[Tensor, " size"], share: float) -> Float[Tensor, " size"]:
    """From one code towards another along the arc: on a straight line codes would be shorter than any that is drawn.

    Paper: arXiv 1609.04468, section 2.1.
    """
    angle = ((one @ other) / (one.norm() * other.norm()).clamp(min=1e-12)).clamp(-1, 1).acos()
    if float(angle.sin()) < 1e-4:  # noqa: PLR2004 - alike or opposite: no arc, or many
        return (1 - share) * one + share * other
    return (((1 - share) * angle).sin() * one + (share * angle).sin() * other) / angle.sin()

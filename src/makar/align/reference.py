"""What the trained model is compared with: a frozen model."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from makar.core.nouns import Model
from makar.nets.lora import BASE, answering

Reference = Model[Any] | None
"""A frozen model, or None for the trained net itself with its adapters switched off."""


@contextmanager
def reference_of(model: Model[Any], reference: Reference) -> Generator[Model[Any]]:
    """The model that a trained one is compared with.

    Args:
        model: The trained one.
        reference: The frozen one; None for the trained net with its adapters switched off.
    """
    if reference is not None:
        yield reference
        return
    with answering(model.net, [BASE]):
        yield model

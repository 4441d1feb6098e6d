"""Settings of `makar collect`; imports no torch."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from makar.core.config import Config

Fraction = Annotated[float, Field(ge=0, lt=1)]

Ask = Literal["topic", "summary", "docstring", "function", "definition", "disorder"]
"""How prose becomes questions and answers: the rules of `data.ask`."""


class CollectOptions(Config):
    """What to keep of the sources, and how to split it.

    Args:
        test: How the test set is chosen: by a hash of the group, or the last part of the corpus in its own order.
        test_fraction: Share of the corpus that is held out for the last judgement: of its groups, or of its raw bytes.
        valid_fraction: Share of the groups that training watches but does not see.
        limit_bytes: Take only a leading part of what is not test, in raw bytes; the manifest says so.
        min_chars: A shorter document is dropped.
        near: Jaccard similarity of word 5-grams from which two documents are near-duplicates: 61% of pairs are found at
            0.7, 95% at 0.8, all from 0.9 on.
        seed: Keys the hash of the groups.
        ask: Turn what is kept into questions and answers by these rules; the result is a dataset of conversations,
            or, by "disorder" and it alone, of pairs.
    """

    test: Literal["hash", "last"] = "hash"
    test_fraction: Fraction = 0.05
    valid_fraction: Fraction = 0.01
    limit_bytes: Annotated[int, Field(gt=0)] | None = None
    min_chars: Annotated[int, Field(ge=0)] = 32
    near: Annotated[float, Field(ge=0.7, le=1)] = 0.7
    seed: int = 0
    ask: tuple[Ask, ...] = Field(default=(), exclude_if=lambda rules: not rules)

    @model_validator(mode="after")
    def leave_something(self) -> "CollectOptions":
        """Training needs a share too, and a dataset is of one kind."""
        if "disorder" in self.ask and len(self.ask) > 1:
            raise ValueError("'disorder' makes pairs, the other rules conversations: ask for one kind")
        if self.test_fraction + self.valid_fraction >= 1:
            raise ValueError("test_fraction and valid_fraction together must stay below 1")
        return self

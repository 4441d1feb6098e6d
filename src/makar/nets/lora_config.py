"""What an adapter is, in numbers; imports no torch."""

import math

from pydantic import Field

from makar.core.config import Config


class LoraConfig(Config):
    """A low-rank adapter of linear layers: beside each weight W a product B A of few rows, and only that is trained.

    Paper: arXiv 2106.09685, section 4.1; rsLoRA: arXiv 2312.03732, eq. 6; DoRA: arXiv 2402.09353, eq. 5.
    """

    rank: int = Field(default=16, gt=0, description="Rows of A and columns of B")
    alpha: float = Field(
        default_factory=lambda known: 2.0 * known["rank"],
        gt=0,
        description="The product counts alpha / rank times; twice the rank if left out",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Of what goes into A, in training")
    targets: tuple[str, ...] = Field(
        default=(), description="Names of the layers, such as q_proj; all linear layers of the blocks if left out"
    )
    rslora: bool = Field(default=False, description="The product counts alpha / √rank times")
    dora: bool = Field(default=False, description="The direction of each row of W + B A and its length apart")

    @property
    def scale(self) -> float:
        """How many times the product counts."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

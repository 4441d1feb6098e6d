"""Settings of rollouts and rewards; imports no torch."""

from typing import Any

from pydantic import Field

from makar.core.config import Config


class RolloutConfig(Config):
    """How answers are made to learn from.

    Args:
        group: Answers to each prompt; a step's rows are whole groups.
        max_tokens: An answer ends after so many tokens.
        temperature: Divides the logits as answers are drawn. The loss is of the model as it is: keep it near 1.
        batches: Optimizer batches that one rollout is cut into.
        epochs: How often a rollout is gone through before the next is made.
        watch_every: Steps between looks at held-out prompts; a tenth of the run if left out.
        max_perplexity_rise: Of held-out answers, under the model that training began with, at which the run is
            stopped; 0.25 is a quarter.
        max_distinct_fall: Of their distinct word pairs, at which it is stopped.
    """

    group: int = Field(default=8, gt=1)
    max_tokens: int = Field(default=64, gt=0)
    temperature: float = Field(default=1.0, gt=0)
    batches: int = Field(default=1, gt=0)
    epochs: int = Field(default=1, gt=0)
    watch_every: int | None = Field(default=None, gt=0)
    max_perplexity_rise: float = Field(default=0.25, gt=0)
    max_distinct_fall: float = Field(default=0.2, gt=0, le=1)


RewardTable = dict[str, float | dict[str, Any]]
"""A recipe's rewards: a weight for each rule, or a table with the `weight` (1 if left out) and the rule's options."""

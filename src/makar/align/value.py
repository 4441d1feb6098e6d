"""A value head: what a language model expects an answer to earn, foreseen at each of its tokens.

The head is a submodule of the net while it trains, so that the optimizer and the checkpoints know it; `saved_without`
leaves it out of the model folder, where only the policy belongs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from makar.align.estimate import Counts, PerPart
from makar.core.nouns import Batch, Model
from makar.families.language.objective import hidden_of, targets_of
from makar.nets.cross_entropy import IGNORE, token_nll
from makar.nets.decoder import Decoder

HEAD = "value_head"


def attach_value_head(net: Decoder) -> nn.Linear:
    """Give a decoder a value head that expects nothing yet."""
    weight = net.output_weight
    head = nn.Linear(weight.shape[1], 1, device=weight.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    net.add_module(HEAD, head)
    return head


def log_probs_and_values(model: Model[Decoder], rows: Batch) -> tuple[PerPart, Counts, PerPart]:
    """The log-probability of each next token, which of them count, and what is foreseen before each; one forward."""
    targets = targets_of(rows)
    hidden = hidden_of(model.net, rows)
    nll = token_nll(hidden.flatten(0, 1), model.net.output_weight, targets.flatten())
    head: nn.Module = model.net.get_submodule(HEAD)
    return -nll.view(targets.shape), targets != IGNORE, head(hidden).squeeze(2).float()


@torch.no_grad()
def foreseen(model: Model[Decoder], rows: Batch) -> PerPart:
    """The values alone."""
    return log_probs_and_values(model, rows)[2]


def saved_without(save: Callable[[Model[Any], Path], None]) -> Callable[[Model[Any], Path], None]:
    """A way to save a model, for a net with a value head: the head stays at home."""

    def save_policy(model: Model[Any], folder: Path) -> None:
        head = model.net.get_submodule(HEAD)
        delattr(model.net, HEAD)
        try:
            save(model, folder)
        finally:
            model.net.add_module(HEAD, head)

    return save_policy

"""The `[adapter]` of a recipe: who is trained in its stead, and what that spares."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from makar.core.errors import RecipeError
from makar.core.nouns import Cost, Model, Objective
from makar.core.random import key_of
from makar.families.diffusion.inversion import Inversion, learning
from makar.families.diffusion.objective import Denoise
from makar.nets.lora import DEFAULT, adapter_parameters, attach, train_only
from makar.nets.lora_config import LoraConfig
from makar.nets.mmdit_control import Controlled
from makar.recipes.recipe import WordConfig


def adapt(net: nn.Module, blocks: Sequence[nn.Module], adapter: LoraConfig | None, seed: int = 0) -> None:
    """Attach a recipe's adapter, if it has one, and freeze everything else.

    Args:
        net: Changed in place.
        blocks: Its repeated units, whose linear layers are adapted.
        adapter: None changes nothing.
        seed: The run's.

    Raises:
        RecipeError: A target is no linear layer of the blocks, or the net is shown something.
    """
    if adapter is None:
        return
    if isinstance(net, Controlled):
        fix = "begin from the model that was there before its [control]"
        raise RecipeError("an adapter would belong to the net and to what looks for it", where="adapter", fix=fix)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(seed, "adapter"))
        attach(net, blocks, adapter)
    train_only(net, DEFAULT)


def learning_word(word: WordConfig, model: Model[Any], objective: Objective[Any]) -> tuple[Model[Any], Objective[Any]]:
    """A model of which only a word's vector learns, and the loss by which it does.

    Args:
        word: The recipe's.
        model: Its net is changed in place.
        objective: The recipe's, whose weighting the loss has.

    Raises:
        UserError: The model cannot learn it, or the objective is of another kind.
    """
    if not isinstance(objective, Denoise):
        fix = "leave objective.name out"
        raise RecipeError("a word is learned by taking noise off", where="word", value=word.text, fix=fix)
    return learning(model, word.text, word.initial), Inversion(weighting=objective.weighting)


def adapted_cost(cost: Cost, net: nn.Module) -> Cost:
    """What a step costs where an adapter is trained: no gradients of the frozen matrices, and the adapter's products.

    Its own three products a token, and what they keep, count by its scalars; what DoRA does once a step does not count.

    Args:
        cost: Of a step that trains everything.
        net: With the adapter; a skeleton will do. One without is what the cost says already.
    """
    shapes = {name: p.shape for name, p in adapter_parameters(net, DEFAULT).items()}
    if not shapes:
        return cost
    scalars, units = sum(shape.numel() for shape in shapes.values()), cost.units[1]
    kept = sum(2 * 4 * shape[0] for name, shape in shapes.items() if name.endswith("lora_A"))
    kept += sum(2 * 4 * shape[0] for name, shape in shapes.items() if name.endswith("magnitude"))
    return replace(
        cost,
        parameters=cost.parameters + scalars,
        flops=cost.flops - cost.weight_flops + 6.0 * scalars * units,
        activations=cost.activations + kept * units,
    )

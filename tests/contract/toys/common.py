"""What the toys share: a perceptron, points on a circle, a plain folder."""

import json
import math
from pathlib import Path

import torch
from torch import nn

from makar.core.nouns import Chunk, Cost, Folder, Model
from makar.core.random import Rng
from makar.core.tensors import check_shapes, load_tensors, save_tensors


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with SiLU between them, He-initialised: learning shows within few steps."""
    layers: list[nn.Module] = []
    for inner, outer in zip(widths[:-1], widths[1:], strict=True):
        linear = nn.Linear(inner, outer)
        nn.init.kaiming_normal_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def blocks(net):
    """The linear layers are the toys' repeated units."""
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def circle(count: int = 256):
    """Points on the unit circle, `[count, 2]`."""
    angle = torch.arange(count) * (2 * math.pi / count)
    return torch.stack((angle.cos(), angle.sin()), 1)


def noise(requests, name: str, *shape: int):
    """One draw a request, from its own seed: the same in any batch, `[batch, *shape]`."""
    row = torch.zeros(1, dtype=torch.int64)
    return torch.cat([Rng(request.seed, 0, row).normal(name, *shape) for request in requests])


def plain_folder(family, config_class, build) -> Folder:
    """A config.json and a model.safetensors."""

    def save(model: Model, path: Path) -> None:
        (path / "config.json").write_text(json.dumps({"model_type": family, **model.config.model_dump()}))
        save_tensors(path / "model.safetensors", model.net.state_dict())

    def load(path: Path) -> Model:
        data = json.loads((path / "config.json").read_text())
        config = config_class(**{key: value for key, value in data.items() if key != "model_type"})
        net = build(config)
        tensors = load_tensors(path / "model.safetensors")
        check_shapes(path, tensors, {name: t.shape for name, t in net.state_dict().items()})
        net.load_state_dict(tensors)
        from tests.contract.toys import TOYS

        return Model(TOYS[family], config, net)

    def recognises(path: Path) -> bool:
        file = path / "config.json"
        return file.exists() and json.loads(file.read_text()).get("model_type") == family

    return Folder(save, load, recognises)


def cost_of(build):
    """Six operations a parameter and row: two forward, four backward."""

    def cost(config, length: int) -> Cost:
        with torch.random.fork_rng():
            count = sum(p.numel() for p in build(config).parameters())
        return Cost(count, 6.0 * count, 4.0 * config.width * 8, ("points", 1))

    return cost


def at_once(draw):
    """A sampler's step that finishes every row at once."""

    def step(model, state):
        made = draw(model, state)
        return state, [Chunk(row, data, done=True, reason="stop") for row, data in enumerate(made)]

    return step

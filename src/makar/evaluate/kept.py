"""Small nets to measure pictures with: each is trained once, by the trainer of everything else, and kept."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from makar.core.config import Config, parse
from makar.core.errors import UserError
from makar.core.files import folder_atomic, lock, read_json, seal_of, write_json
from makar.core.nouns import Cost, Family, Folder, Model, Objective, Source
from makar.core.random import key_of
from makar.core.say import Say
from makar.core.tensors import check_shapes, load_tensors, save_tensors
from makar.nets.counting import counted
from makar.train.config import Cosine, Optimizer, TrainConfig
from makar.train.loop import fit

RATE = Optimizer(learning_rate=3e-3, weight_decay=0.05)


def measuring(
    name: str,
    config: type[Config],
    build: Callable[[Any], nn.Module],
    *,
    shape: Callable[[Any], tuple[int, int, int]],
    learns: Callable[[], Objective[Any]],
    tiny: Callable[[], tuple[Config, Source]],
) -> Family[Any]:
    """The record by which the trainer knows such a net; it is for measuring, and in no table of families.

    Args:
        name: Of its kind.
        config: What is said of a net.
        build: A fresh net, with its blocks as `stages`.
        shape: Channels, height and width of a picture, as a config says it.
        learns: Its objective.
        tiny: A config and rows on which it learns at once.
    """

    def load(folder: Path) -> Model[Any]:
        where = folder / "model.safetensors"
        found, weights = parse(config, read_json(folder / "config.json"), folder), load_tensors(where)
        with torch.device("meta"):
            net = build(found)
        check_shapes(where, weights, {key: tensor.shape for key, tensor in net.state_dict().items()})
        net.load_state_dict(weights, assign=True)
        return Model(family, found, net.eval())

    def cost(config: Config, length: int) -> Cost:  # noqa: ARG001
        count = counted(lambda: build(config), (2, *shape(config)))
        return Cost(count.parameters, 1.5 * count.flops, count.kept / 2, ("images", 1), 0.5 * count.flops)

    family: Family[Any] = Family(
        name=name, config=config, settings=Config, build=build, blocks=stages, objectives={name: learns},
        sampler=None, log_prob=None, folder=Folder(save, load, lambda folder: False),  # noqa: ARG005
        cost=cost, inputs=("images",), tiny=tiny,
    )  # fmt: skip
    return family


def stages(net: Any) -> Sequence[nn.Module]:
    """The blocks of a net."""
    return list(net.stages)


def save(model: Model[Any], folder: Path) -> None:
    """Write a net into an existing empty folder."""
    write_json(folder / "config.json", model.config.model_dump(mode="json"))
    save_tensors(folder / "model.safetensors", model.net.state_dict())


def kept(
    family: Family[Any],
    config: Config,
    source: Source,
    what: str,
    *,
    beside: Path,
    knows: Mapping[str, Any],
    steps: int,
    batch_size: int,
    say: Say,
    seed: int = 0,
) -> Model[Any]:
    """The net of a config, trained at the first call; a killed training goes on.

    Args:
        family: Its record.
        config: What is said of it.
        source: What it learns from.
        what: It is, for the reader.
        beside: Its folder, less what tells it from others.
        knows: All that its weights depend on, beside its config and how it is trained.
        steps: Of its training.
        batch_size: Rows of a step.
        say: Told when it takes time.
        seed: Of its first weights and of all else that is random; `knows` holds another one than 0.

    Raises:
        UserError: There is no space, or the folder cannot be written.
    """
    how = TrainConfig(
        steps=steps, batch_size=batch_size, optimizer=RATE, schedule=Cosine(warmup=0.1, floor=0.0), precision="fp32",
        compile="off", log_every=50,
    )  # fmt: skip
    identity = {**knows, family.name: config.model_dump(mode="json")}
    place = beside.with_name(f"{beside.name}-{seal_of([identity, how.model_dump(mode='json')])[:12]}")
    if place.is_dir():
        try:
            return family.folder.load(place)
        except UserError as fault:
            say(f"{fault}: training it anew")
    say(f"training {what}, once: {steps} steps")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(seed, "weights"))
        model = Model(family, config, family.build(config))
    learns = next(iter(family.objectives.values()))()
    work = place.with_name(f"{place.name}-training")
    with lock(work):
        if fit(model, source, learns, how, seed=seed, folder=work, identity=identity).interrupted:
            raise KeyboardInterrupt
        with folder_atomic(place) as folder:
            save(model, folder)
    shutil.rmtree(work, ignore_errors=True)
    return family.folder.load(place)

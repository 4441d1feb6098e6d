"""How a GAN makes pictures: at once from a code; and how it finds the code of a given picture, step by step."""

from collections.abc import Sequence
from typing import Any

import torch

from makar.codecs.pixels import to_picture
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Chunk, Model, Request, State
from makar.core.random import Rng
from makar.families.gan.build import Gan, config_of
from makar.families.gan.codes import Code, directions, latent_of, middle
from makar.families.gan.invert import Search, begun, stepped
from makar.families.gan.settings import GanSettings
from makar.families.pictures import between, edits_of, fitting, label_of, parts_of, towards_of
from makar.families.settings import settings_of

SEARCH = ("code", "mean", "spread", "first", "second")

ANY = -1
"""The label of a prompt that names no class: the seed chooses one."""

PARTS = ("label", "image", "edit", "towards")
"""What a prompt may hold."""


class GanSampler:
    """Implements `core.nouns.Sampler`.

    A prompt is a class by its number or its name, or None for any; or a table with any of "label", "image" (a picture
    to find the code of), "edit" ("+NAME" or a list of such) and "towards" (another seed and how far to go to it, 0 to
    1). A chunk's `data` is a picture of Pillow; while a code is being found there is none, and `info` says the step.
    """

    def start(self, model: Model[Gan], requests: Sequence[Request]) -> State:
        """Give each row its code, or the beginning of the search for it.

        Raises:
            UserError: A class or a direction that the model does not know, a picture of another size.
        """
        rows = [begin(model, request) for request in requests]
        return {name: torch.stack([row[name] for row in rows]).to(model.device) for name in rows[0]}

    def step(self, model: Model[Gan], state: State) -> tuple[State, list[Chunk]]:
        """Draw the rows whose code is known, and go on searching for the others'.

        Raises:
            ModelError: The net's numbers are not finite.
        """
        known, chunks = (state["at"] == state["steps"]).nonzero().squeeze(1), list[Chunk]()
        if len(known):
            codes = state["mean"] + state["spread"] * state["code"] + state["push"]
            pictures = model.net.generator.draw(codes[known])
            if not bool(pictures.isfinite().all()):
                fix = "its weights are damaged or its training diverged"
                raise ModelError("the model's pictures are not finite", fix=fix)
            for row, picture in zip(known.tolist(), pictures, strict=True):
                total = int(state["steps"][row])
                info = {"step": total, "steps": total}
                chunks.append(Chunk(row, to_picture(picture), done=True, reason="stop", info=info))
        searching = (state["at"] < state["steps"]).nonzero().squeeze(1).tolist()
        if searching:
            state = {name: leaf.clone() for name, leaf in state.items()}
        for row in searching:
            search_on(model.net, state, row)
            info = {"step": int(state["at"][row]), "steps": int(state["steps"][row])}
            chunks.append(Chunk(row, None, info=info))
        return state, chunks


def begin(model: Model[Gan], request: Request) -> State:
    """A row's state before its first step.

    Raises:
        UserError: Something in the request that does not fit the model.
    """
    config, settings = config_of(model), settings_of(model, request, GanSettings)
    net, given = config.net, parts_of(request.prompt, PARTS)
    label = label_of(given.get("label"), net.num_classes, config.classes, null=ANY)
    if "image" in given:
        if "towards" in given:
            raise InputError("a picture, and a seed to go towards", fix='leave "image" or "towards" out')
        target = fitting(given["image"], net.in_channels, net.sample_size).to(model.device)
        search, steps = begun(model, target, None if label == ANY else label, request.seed), settings.steps
    else:
        if label == ANY:
            label = int(Rng(request.seed, 0, torch.zeros(1, dtype=torch.int64)).integers("label", net.num_classes))
        code = drawn(model, request.seed, label if net.num_classes else None, settings, given.get("towards"))
        none = torch.zeros_like(code)
        target, steps = torch.zeros(net.in_channels, net.sample_size, net.sample_size), 0
        search = Search(code, mean=none, spread=torch.ones_like(code), first=none, second=none)
    push = torch.zeros_like(search.code)
    if "edit" in given:
        known = directions(model)
        for name, strength in edits_of(given["edit"], tuple(known)):
            push = push + strength * known[name]
    found = {name: getattr(search, name) for name in SEARCH}
    return found | {"push": push, "target": target, "at": torch.tensor(0), "steps": torch.tensor(steps)}


def drawn(model: Model[Gan], seed: int, label: int | None, settings: GanSettings, towards: Any) -> Code:
    """The code of a seed, mixed and truncated as asked.

    Raises:
        InputError: The net has no layers to mix, or "towards" is no seed and share.
    """
    generator = model.net.generator
    labels = None if label is None else torch.tensor([label], device=model.device)
    latent = latent_of(seed, generator.latent_size)
    if towards is not None:
        other, share = towards_of(towards, "a seed")
        if not isinstance(other, int):
            raise InputError("not a seed", where="towards", value=type(other).__name__, fix="give a whole number")
        latent = between(latent, latent_of(other, generator.latent_size), share)
    code = generator.code(latent[None].to(model.device), labels)[0]
    if settings.mixing_seed is not None:
        first = settings.mixing_layer or generator.layers // 2
        if not 0 < first < generator.layers:
            fix = f"give mixing_layer from 1 to {generator.layers - 1}" if generator.layers > 1 else "leave it out"
            what = "no such layer to mix from" if generator.layers > 1 else "this net has no styles to mix"
            raise InputError(what, where="mixing_layer", value=first, fix=fix)
        other = latent_of(settings.mixing_seed, generator.latent_size)[None].to(model.device)
        code = torch.cat((code[:first], generator.code(other, labels)[0, first:]))
    if settings.truncation != 1:
        code = torch.lerp(middle(model, label)[0], code, settings.truncation)
    return code


def search_on(net: Gan, state: State, row: int) -> None:
    """One step of a row's search, in place."""
    search = Search(*(state[name][row] for name in SEARCH))
    found = stepped(net, search, state["target"][row], int(state["at"][row]), int(state["steps"][row]))
    for name in SEARCH:
        state[name][row] = getattr(found, name)
    state["at"][row] += 1


SAMPLER = GanSampler()

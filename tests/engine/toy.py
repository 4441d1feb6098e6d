"""The smallest family that an engine can run: it counts up from the prompt, a tensor or a word a step."""

import torch
from torch import nn

from makar.core.config import Config
from makar.core.errors import InputError
from makar.core.nouns import Chunk, Cost, Family, Folder, Model


class CounterConfig(Config):
    width: int = 2


class CounterSettings(Config):
    steps: int = 3
    text: bool = False


class Counter:
    """Keeps the widths of the batches that it saw; each request's state is as wide as its steps."""

    def __init__(self):
        self.batches: list[int] = []
        self.starts: list[int] = []
        self.modes: set[tuple[bool, bool]] = set()

    def start(self, model, requests):
        if any(request.prompt is not None and request.prompt < 0 for request in requests):
            raise InputError("cannot count from below zero", fix="count from zero")
        self.starts.append(len(requests))
        settings = [request.settings or CounterSettings() for request in requests]
        values = torch.zeros(len(requests), 1, max(each.steps for each in settings))
        values[:, :, 0] = torch.tensor([[request.prompt or 0] for request in requests])
        return {
            "values": values,
            "place": torch.zeros(len(requests), dtype=torch.int64),
            "steps": torch.tensor([each.steps for each in settings]),
            "text": torch.tensor([each.text for each in settings]),
        }

    def step(self, model, state):
        self.batches.append(len(state["place"]))
        self.modes.add((torch.is_inference_mode_enabled(), model.net.training))
        chunks = []
        for row, place in enumerate(state["place"].tolist()):
            value = state["values"][row, 0, 0] + place
            done = place + 1 == int(state["steps"][row])
            data = f"{int(value)} " if state["text"][row] else value.clone()
            info = {"values": [int(value)], "last": int(value)}
            chunks.append(Chunk(row, data, done, "length" if done else None, info))
        return state | {"place": state["place"] + 1}, chunks


def counting(sampler="one") -> Model:
    def absent(*_):
        raise NotImplementedError

    sampler = Counter() if sampler == "one" else sampler
    family = Family(
        "counter", CounterConfig, CounterSettings, absent, absent, {}, sampler, None,
        Folder(absent, absent, absent), lambda *_: Cost(1, 1.0, 1.0, ("counts", 1)), (), absent,
    )  # fmt: skip
    return Model(family, CounterConfig(), nn.Sequential(nn.Linear(2, 2), nn.Dropout()))

"""The collapse alarm: a game's losses say nothing of its pictures, so their variety is watched."""

import time
from typing import Any

import torch

from makar.codecs.pixels import to_values
from makar.core.config import Config
from makar.core.nouns import Model, Request, Source, Verdict, Watch
from makar.engine.run import Engine
from makar.measure.collapse import random_features, spread
from makar.measure.neighbours import manifold

FLOOR = 0.2
"""Of the real pictures' spread, what made ones must have: runs that learned kept above 0.4, a collapsed one 0.007."""

GRACE = 0.2
"""Share of the run in which a generator may still be learning to vary its pictures."""

NEIGHBOUR = 3
"""Whose distance is a row's reach, for recall."""


def collapse_alarm(source: Source, settings: Config, *, rows: int, steps: int, classes: int, seed: int) -> Watch:
    """A watch that sends the run back to its last checkpoint when made pictures of a class are too much alike.

    It compares them with real ones of the same classes in random features: the mean distance of pairs (`spread`, as a
    share of the real pictures'), and `recall`, the share of real pictures that are near a made one.

    Args:
        source: Real pictures that are held out.
        settings: The family's settings of generation.
        rows: Real pictures, and as many made ones; at least 64.
        steps: Of the whole run.
        classes: That the model knows; 0 for none.
        seed: Of the made pictures: the same at every look.
    """
    batch = source.batch(0, max(64, rows))
    labels = batch["label"] if classes else torch.zeros(len(batch["images"]), dtype=torch.int64)
    real = random_features(batch["images"])
    real_spread = spread(real, labels)
    requests = [Request(int(label) if classes else None, seed + row, settings) for row, label in enumerate(labels)]

    def look(step: int, model: Model[Any]) -> Verdict:
        start = time.perf_counter()
        answers = Engine(model).generate(requests)
        channels = batch["images"].shape[1]
        made = random_features(torch.stack([to_values(answer.data, channels) for answer in answers]))
        share = spread(made, labels) / max(real_spread, 1e-12)
        recall = manifold(real, made, NEIGHBOUR).recall
        logs = {"spread": share, "recall": recall, "seconds": time.perf_counter() - start}
        said = f"made pictures vary {share:.2f} times as much as real ones, recall {recall:.2f}"
        if share < FLOOR and step > GRACE * steps:
            note = f"collapse: {said}, and should at least {FLOOR}; lower the learning rate or raise gamma if it recurs"
            return Verdict(logs, action="back", note=note)
        return Verdict(logs, note=said)

    return look

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

LEAST = 0.02
"""Of the recall of other real pictures, what made ones must have: runs that learned kept above 0.03, a few modes 0."""

GRACE = 0.2
"""Share of the run in which a generator may still be learning to vary its pictures."""

BEGINNING = 100
"""Steps in which recall says nothing: no real picture is near what hardly looks like one yet."""

NEIGHBOUR = 3
"""Whose distance is a row's reach, for recall."""

ROWS = 64
"""Fewest pictures to compare with."""


def collapse_alarm(
    held: Source, training: Source, settings: Config, *, rows: int, steps: int, classes: int, seed: int
) -> Watch:
    """A watch that sends the run back to where made pictures were various when too few kinds of them are left.

    It compares them with real ones of the same classes in random features: the mean distance of pairs (`spread`, as a
    share of the real pictures'), and `recall`, the share of real pictures that are near a made one. The first falls
    where the pictures of a class become one, the second where they become a few that are far apart.

    Args:
        held: Real pictures that are held out.
        training: Those that are learned from: they stand in where fewer than 64 different ones are held out, and other
            ones of them say what recall real pictures have.
        settings: The family's settings of generation.
        rows: Real pictures, and as many made ones; at least 64.
        steps: Of the whole run.
        classes: That the model knows; 0 for none.
        seed: Of the made pictures: the same at every look.
    """
    size = max(ROWS, rows)
    batch = held.batch(0, size)
    if len(batch["images"].unique(dim=0)) < ROWS:
        batch = training.batch(0, size)
    labels = batch["label"] if classes else torch.zeros(size, dtype=torch.int64)
    real, others = random_features(batch["images"]), random_features(training.batch(1, size)["images"])
    kinds = labels if spread(real, labels) else torch.zeros_like(labels)  # of a class with one picture, none varies
    real_spread, real_recall = spread(real, kinds), manifold(real, others, NEIGHBOUR).recall
    requests = [Request(int(label) if classes else None, seed + row, settings) for row, label in enumerate(labels)]

    def look(step: int, model: Model[Any]) -> Verdict:
        start = time.perf_counter()
        answers = Engine(model).generate(requests)
        channels = batch["images"].shape[1]
        made = random_features(torch.stack([to_values(answer.data, channels) for answer in answers]))
        share = spread(made, kinds) / max(real_spread, 1e-12)
        recall = manifold(real, made, NEIGHBOUR).recall
        logs = {"spread": share, "recall": recall, "seconds": time.perf_counter() - start}
        said = f"made pictures vary {share:.2f} times as much as real ones, recall {recall:.2f}"
        alike = share < FLOOR and step > GRACE * steps
        few = recall < LEAST * real_recall and step > max(BEGINNING, GRACE * steps)
        if alike or few:
            wanted = f"at least {FLOOR}" if alike else f"a recall of at least {LEAST * real_recall:.2f}"
            note = f"collapse: {said}, and should {wanted}; lower the learning rate or raise gamma if it recurs"
            return Verdict(logs, action="back", note=note)
        return Verdict(logs, note=said)

    return look

"""Whether a small classifier that has few labels gets better by pictures that `makar augment` would make.

`python -m benchmarks.augment`, apart from the others, because it takes a trained model and measures no time.

It needs the run of `makar train fashion-vae-quick` in ./runs. The variational autoencoder has seen all training
pictures and no labels; the classifier takes the same number of steps with and without the made pictures.
"""

import io
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from makar.app import api
from makar.app.augment import drawn, plans
from makar.core.random import numpy_rng
from makar.data.dataset import Dataset
from makar.data.document import Picture
from makar.nets.classifier import PictureClassifier

RUN = "fashion-vae-quick"
PER_CLASS = (10,)
FACTOR = 3
SEEDS = (0, 1, 2)
STEPS, BATCH = 100, 64
TESTED = 1000


def run() -> dict[str, Any]:
    """Accuracy on test pictures, mean and standard deviation over seeds, by labels a class."""
    model, dataset = api.load(RUN), Dataset.open(api.dataset_of(Path("runs") / RUN))
    train, test = list(dataset.pictures("train")), list(dataset.pictures("test"))[:TESTED]
    found: dict[str, Any] = {}
    for count in PER_CLASS:
        arms: dict[str, list[float]] = {"few": [], f"few, x{FACTOR}": []}
        for seed in SEEDS:
            few = chosen(train, count, seed)
            made = [*few, *drawn(model, plans(few, FACTOR, seed), "made")]
            for arm, pictures in zip(arms.values(), (few, made), strict=True):
                arm.append(accuracy(pictures, test, seed))
            print(f"augment: {count} a class, seed {seed}: {arms}", file=sys.stderr, flush=True)
        found[str(count)] = {
            name: {"mean": statistics.mean(values), "sd": statistics.stdev(values)} for name, values in arms.items()
        }
    return {"labels a class": found, "tested": TESTED, "seeds": len(SEEDS), "model": RUN}


def chosen(pictures: Sequence[Picture], count: int, seed: int) -> list[Picture]:
    """So many pictures of each class."""
    order, found = numpy_rng(seed, "few").permutation(len(pictures)), dict[int | None, list[Picture]]()
    for place in order:
        found.setdefault(pictures[place].label, []).append(pictures[place])
    return [picture for label in sorted(found, key=str) for picture in found[label][:count]]


def tensors(pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
    """Values in -1 to 1, and labels."""
    images = [np.asarray(Image.open(io.BytesIO(picture.image))) for picture in pictures]
    labels = [picture.label for picture in pictures]
    return torch.from_numpy(np.stack(images)).float()[:, None] / 127.5 - 1, torch.tensor(labels)


def accuracy(pictures: Sequence[Picture], test: Sequence[Picture], seed: int) -> float:
    """The share of test pictures that a classifier names rightly that was trained on these."""
    torch.manual_seed(seed)
    (images, labels), (held, wanted) = tensors(pictures), tensors(test)
    net = PictureClassifier(1, images.shape[-1], int(wanted.max()) + 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(images), (BATCH,))
        F.cross_entropy(net(images[rows]), labels[rows]).backward()
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
    net.eval()
    with torch.inference_mode():
        said = torch.cat([net(part).argmax(1) for part in held.split(250)])
    return float((said == wanted).float().mean())


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))

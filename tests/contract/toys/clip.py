"""Two towers, points and words. Every row's loss needs all rows, and accumulation stays exact all the same.

Papers: Radford et al. 2021 (CLIP), arXiv:2103.00020; Zhai et al. 2023 (sigmoid), arXiv:2303.15343, algorithm 1;
Gao et al. 2021 (gradients cached over the whole batch), arXiv:2101.06983, section 3.2.
"""

import torch
import torch.nn.functional as F
from torch import nn

from makar.core.config import Config
from makar.core.nouns import Family, Loss
from makar.data.table import TensorSource
from tests.contract.toys.common import at_once, blocks, circle, cost_of, perceptron, plain_folder

WORDS = 16


class ClipConfig(Config):
    width: int = 32


class ClipSettings(Config):
    pass


class Clip(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.text = nn.Embedding(WORDS, config.width)
        self.image = perceptron(2, config.width, config.width)
        self.scale = nn.Parameter(torch.tensor(2.3))
        self.bias = nn.Parameter(torch.tensor(-4.0))

    def forward(self, x, word):
        return F.normalize(self.image(x).float(), dim=1), F.normalize(self.text(word).float(), dim=1)


def sigmoid(likeness, scale, bias):
    """Each pair on its own: matched or not."""
    logits = scale.exp() * likeness + bias
    return -F.logsigmoid(logits * (2 * torch.eye(len(logits)) - 1)).sum(1)


def softmax(likeness, scale, bias):
    """Which word belongs to the point, and which point to the word; a bias would cancel."""
    logits = scale.exp() * likeness
    match = torch.arange(len(logits))
    by_image, by_text = (
        F.cross_entropy(logits, match, reduction="none"),
        F.cross_entropy(logits.T, match, reduction="none"),
    )
    return (by_image + by_text) / 2


class Contrastive:
    """A loss over all pairs of the whole batch, from their likeness `[rows rows]` to a loss of each row.

    `prepare` finds each row's features and the loss's gradient with respect to them; a micro-batch then only carries
    that gradient on into the towers. The sum over micro-batches is the gradient of the whole, whatever the cut.
    """

    players = ("",)

    def __init__(self, losses=sigmoid):
        self.losses = losses

    def prepare(self, model, batch, rng):
        leaves = [
            t.detach().requires_grad_()
            for t in (*model.net(batch["x"], batch["word"]), model.net.scale, model.net.bias)
        ]
        with torch.enable_grad():
            image, text, scale, bias = leaves
            losses = self.losses(image @ text.T, scale, bias)
            gradients = torch.autograd.grad(losses.sum(), leaves, allow_unused=True, materialize_grads=True)
        shared = torch.stack(gradients[2:]).expand(len(image), 2) / len(image)
        return batch | {
            "losses": losses.detach(),
            "to_image": gradients[0],
            "to_text": gradients[1],
            "to_shared": shared,
        }

    def __call__(self, model, micro, player, rng):
        image, text = model.net(micro["x"], micro["word"])
        shared = torch.stack((model.net.scale, model.net.bias))
        carried = (
            (image * micro["to_image"]).sum() + (text * micro["to_text"]).sum() + (shared * micro["to_shared"]).sum()
        )
        value = micro["losses"].sum()
        return Loss(carried + (value - carried).detach(), torch.tensor(float(len(image))))


class Likeness:
    kind = "score"

    def __call__(self, model, batch, rng):
        image, text = model.net(batch["x"], batch["word"])
        values = (image * text).sum(1, keepdim=True)
        return values, torch.ones_like(values, dtype=torch.bool)


class Name:
    """Says which word a point is: the prompt is the point, or one from the seed."""

    def start(self, model, requests):
        points = [circle()[r.seed % 256] if r.prompt is None else torch.as_tensor(r.prompt) for r in requests]
        return {"x": torch.stack(points)}

    @staticmethod
    def words(model, state):
        image, text = model.net(state["x"], torch.arange(WORDS))
        return (image @ text.T).argmax(1)

    step = staticmethod(at_once(lambda model, state: Name.words(model, state)))


def tiny():
    word = torch.arange(256) // (256 // WORDS)
    return ClipConfig(), TensorSource({"x": circle(), "word": word}, seed=0)


FAMILY = Family(
    "toy-clip", ClipConfig, ClipSettings, Clip, blocks,
    {"sigmoid": Contrastive, "softmax": lambda: Contrastive(softmax)}, Name(), Likeness(),
    plain_folder("toy-clip", ClipConfig, Clip), cost_of(Clip), ("x", "word"), tiny,
)  # fmt: skip

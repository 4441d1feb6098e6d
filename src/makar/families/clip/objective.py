"""Which picture belongs to which text, out of all of a batch: softmax and sigmoid, exact however the batch is cut."""

from collections.abc import Callable
from math import log
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import RecipeError
from makar.core.nouns import Batch, Loss, Model
from makar.core.random import Rng
from makar.families.clip.build import Net, embedded
from makar.nets.clip import ClipNet, Vectors
from makar.train.distributed import join

Likeness = Float[Tensor, "rows rows"]
"""Cosines of all pictures with all texts."""

Losses = Callable[[Likeness, Tensor, Tensor], Float[Tensor, " rows"]]
"""From likeness, the logarithm of its scale, and a bias, to a loss of each row."""

STEEPEST = log(100.0)
"""The scale grows no further. Paper: arXiv 2103.00020, section 2.5."""


def softmax_losses(likeness: Likeness, scale: Tensor, bias: Tensor) -> Float[Tensor, " rows"]:  # noqa: ARG001
    """Nats for each picture's text among all texts, and each text's picture, half each; a bias would cancel.

    Paper: arXiv 2103.00020, figure 3.
    """
    logits, match = scale.clamp(max=STEEPEST).exp() * likeness, torch.arange(len(likeness), device=likeness.device)
    by_picture = F.cross_entropy(logits, match, reduction="none")
    return (by_picture + F.cross_entropy(logits.T, match, reduction="none")) / 2


def sigmoid_losses(likeness: Likeness, scale: Tensor, bias: Tensor) -> Float[Tensor, " rows"]:
    """Nats for each pair by itself: whether it belongs together. Paper: arXiv 2303.15343, algorithm 1."""
    logits = scale.exp() * likeness + bias
    return -F.logsigmoid(logits * (2 * torch.eye(len(logits), device=logits.device) - 1)).sum(1)


@final
class Contrastive:
    """A loss over all pairs of the whole batch.

    Where a micro-batch is not the whole, every row's vector is found first, without gradient, and the loss's gradient
    with respect to all of them; each micro-batch then only carries its share on into the towers. The sum is the
    gradient of the whole, however it is cut, over processes too. Paper: arXiv 2101.06983, section 3.2.

    Args:
        losses: Of each row, from the likeness of all.
        biased: Whether they need a bias that is learned.
    """

    players = ("",)

    def __init__(self, losses: Losses, *, biased: bool) -> None:
        self.losses, self.biased = losses, biased
        self._whole: Batch = {}
        self._found: Batch = {}

    def prepare(self, model: Model[Net], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """Keep the whole batch in sight of its parts.

        Raises:
            RecipeError: The loss learns a bias, and the net has none.
        """
        if self.biased and isinstance(model.net, ClipNet):
            fix = "set model.kind='siglip', or take the objective 'softmax'"
            raise RecipeError("CLIP's net has no bias to learn", where="objective.name", value="sigmoid", fix=fix)
        self._whole, self._found = batch, {}
        return batch | {"row": torch.arange(len(batch["tokens"]), device=batch["tokens"].device)}

    def __call__(self, model: Model[Net], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Summed over rows; the logs are how often the nearest is the right one."""
        seen, read = embedded(model, micro["images"], micro["tokens"])
        scale, bias = shared(model.net)
        count = torch.tensor(float(len(seen)))
        if len(seen) == len(self._whole["tokens"]):
            losses, right = self.judged(seen, read, scale, bias)
            return Loss(losses.sum(), count, logs_of(right, scale))
        if not self._found:
            self._found = self.found(model, len(seen))
        found = {name: tensor[micro["row"]] for name, tensor in self._found.items()}
        carried = (seen * found["to_seen"]).sum() + (read * found["to_read"]).sum()
        carried = carried + (torch.cat((scale.view(1), bias.view(1))) * found["to_shared"]).sum()
        value = found["losses"].sum()
        return Loss(carried + (value - carried).detach(), count, logs_of(found["right"], scale))

    def judged(self, seen: Vectors, read: Vectors, scale: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each row of the whole batch, and how many of its two nearest are right, in 0 to 1."""
        with torch.autocast(seen.device.type, enabled=False):
            likeness = seen @ read.T
            losses = self.losses(likeness, scale, bias)
        match = torch.arange(len(seen), device=seen.device)
        right = (likeness.argmax(1) == match).float() + (likeness.argmax(0) == match).float()
        return losses, right.detach() / 2

    def found(self, model: Model[Net], size: int) -> Batch:
        """Of each row of the whole batch its loss, and the gradient with respect to its vectors.

        Args:
            model: Of this family.
            size: Rows at once; those of other processes come from them.
        """
        whole, world = self._whole, join()
        rows = len(whole["tokens"])
        share = world.share(rows)
        pieces: list[tuple[Vectors, Vectors]] = []
        with torch.no_grad():
            for start in range(share.start, share.stop, size):
                cut = slice(start, min(start + size, share.stop))
                pieces.append(embedded(model, whole["images"][cut], whole["tokens"][cut]))
        leaves: list[Tensor] = []
        for piece in zip(*pieces, strict=True):
            own = torch.cat(piece)
            gathered = own.new_zeros(rows, own.shape[1])
            gathered[share.start : share.stop] = own
            leaves.append(gathered)
        world.sum(leaves)  # every other process has zeros where this one has rows
        leaves += [tensor.detach().clone() for tensor in shared(model.net)]
        with torch.enable_grad():
            losses, right = self.judged(*(leaf.requires_grad_() for leaf in leaves))
            gradients = torch.autograd.grad(losses.sum(), leaves, allow_unused=True, materialize_grads=True)
        together = torch.cat([gradient.view(1) for gradient in gradients[2:]])
        return {
            "losses": losses.detach(),
            "right": right,
            "to_seen": gradients[0],
            "to_read": gradients[1],
            "to_shared": together.expand(rows, 2) / rows,
        }


def shared(net: Net) -> tuple[Tensor, Tensor]:
    """The logarithm of the scale and the bias, which is 0 where the net has none."""
    return net.logit_scale, net.logit_scale.new_zeros(()) if isinstance(net, ClipNet) else net.logit_bias


def logs_of(right: Float[Tensor, " rows"], scale: Tensor) -> dict[str, Tensor]:
    """Sums over rows, for the log."""
    return {"right": right.sum(), "scale": scale.detach().exp().sum() * len(right)}


def softmax() -> Contrastive:
    """CLIP's loss: which of all."""
    return Contrastive(softmax_losses, biased=False)


def sigmoid() -> Contrastive:
    """SigLIP's loss: each pair by itself."""
    return Contrastive(sigmoid_losses, biased=True)

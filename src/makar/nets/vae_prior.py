"""What is known of a code before a picture is seen: a standard normal, or a mixture that is learned."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from makar.nets.gaussians import NARROWEST, WIDEST


class Mixture(nn.Module):
    """Normal distributions side by side, with means, variances and shares that are learned.

    It comes closer to the mean of all posteriors than one normal does, as the mixture of
    Paper: arXiv 1705.07120, eq. 9, whose components are posteriors of learned pictures; here they are learned as such.

    Args:
        components: How many.
        size: Numbers in a code.
    """

    def __init__(self, components: int, size: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.randn(components, size))
        self.log_variance = nn.Parameter(torch.zeros(components, size))
        self.logits = nn.Parameter(torch.zeros(components))

    def log_prob(self, z: Float[Tensor, "rows size"]) -> Float[Tensor, " rows"]:
        """How likely codes are, in nats: the squares of all distances as two matrix products."""
        log_variance = self.log_variance.clamp(NARROWEST, WIDEST)
        precision = (-log_variance).exp()
        device = "cpu" if z.is_meta else z.device.type  # a net that is only counted has no device that can compute
        with torch.autocast(device, enabled=False):  # distances are differences of large numbers
            inside = z.square() @ precision.T - 2 * z @ (self.mean * precision).T
        constant = (self.mean.square() * precision + log_variance + math.log(2 * math.pi)).sum(1)
        return (self.logits.log_softmax(0) - (inside + constant) / 2).logsumexp(1)

    def draw(self, noise: Float[Tensor, "rows size"], pick: Float[Tensor, " rows"]) -> Float[Tensor, "rows size"]:
        """Codes.

        Args:
            noise: Standard normal.
            pick: Uniform on 0 to 1; it chooses the component.
        """
        edges = self.logits.softmax(0).cumsum(0)
        chosen = torch.searchsorted(edges, pick).clamp(max=len(edges) - 1)
        spread = (self.log_variance.clamp(NARROWEST, WIDEST)[chosen] / 2).exp()
        return self.mean[chosen] + spread * noise

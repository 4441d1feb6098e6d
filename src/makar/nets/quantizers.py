"""Vectors to codes: to the nearest of a learned codebook (VQ), to levels (FSQ), to signs (LFQ).

Whatever the way, the gradient of a code's values is passed to the vectors as it is. A quantizer's call is about what
it is given and nothing else; what is to be known of the whole batch is said by `prepare`, once a step.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.core.nouns import Batch
from makar.core.random import Rng
from makar.nets.autoencoder_config import FSQBottleneck, LFQBottleneck, VQBottleneck

Latents = Float[Tensor, "rows latent lines places"]
Codes = Int[Tensor, "rows lines places"]
Rows = Float[Tensor, " rows"]
Vectors = Float[Tensor, "count latent"]

SHARE = "code_log_share"
"""In a batch: the logarithm of each code's share of it, the same for every row."""


@dataclass(frozen=True)
class Quantized:
    """Vectors, quantized.

    Args:
        values: Of the codes; the gradient goes to the vectors as if they were them.
        codes: Their numbers.
        commitment: Of each row, how far the vectors are from their codes: a mean square, with gradient.
    """

    values: Latents
    codes: Codes
    commitment: Rows


def quantized(latents: Latents, values: Latents, codes: Codes) -> Quantized:
    """Values in the vectors' place. Paper: arXiv 1308.3432 (straight through); arXiv 1711.00937, eq. 3."""
    values = values.detach()
    commitment = (latents - values).square().flatten(1).mean(1)
    return Quantized(latents + (values - latents).detach(), codes, commitment)


def tokens(latents: Latents) -> Vectors:
    """The vectors of all places, row by row."""
    return latents.movedim(1, -1).flatten(0, -2)


class Embedding(nn.Module):
    """A table that no gradient reaches; a buffer, so that checkpoints hold it."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(count, width).uniform_(-1 / count, 1 / count))


class VectorQuantizer(nn.Module):
    """The nearest vector of a codebook, each of which is the running mean of those that were nearest to it.

    Args:
        config: Its size.
    """

    def __init__(self, config: VQBottleneck) -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.num_vq_embeddings, config.vq_embed_dim)
        self.register_buffer("count", torch.zeros(config.num_vq_embeddings))
        self.register_buffer("sum", torch.zeros(config.num_vq_embeddings, config.vq_embed_dim))

    @property
    def codebook(self) -> Vectors:
        """The values of every code."""
        return self.embedding.get_buffer("weight")

    def forward(self, latents: Latents) -> Quantized:
        """The codes of some rows."""
        codes = self.nearest(tokens(latents)).view(len(latents), *latents.shape[2:])
        return quantized(latents, self.values(codes), codes)

    def nearest(self, vectors: Vectors) -> Int[Tensor, " count"]:
        """The code that lies nearest to each vector."""
        return torch.cdist(vectors, self.codebook).argmin(1)

    def values(self, codes: Codes) -> Latents:
        """What codes stand for."""
        return self.codebook[codes].movedim(-1, 1)

    @torch.no_grad()
    def prepare(self, latents: Latents, rng: Rng) -> Batch:
        """Move the codebook towards the vectors of a whole batch. Paper: arXiv 1711.00937, eqs. 6 to 8.

        A code that hardly any vector was nearest to is set on one of them (arXiv 2005.00341, section 3.2), and so is
        every code at the first step. They are drawn by their squared distance to the codebook, as k-means++ draws:
        otherwise a background that fills most places would get most codes.
        """
        vectors, config = tokens(latents).float(), self.config
        book, count, total = self.codebook, self.get_buffer("count"), self.get_buffer("sum")
        least = config.revive * len(vectors) / config.num_vq_embeddings
        dead = count <= least
        luck = -(-rng.uniform("revive", len(vectors) // len(rng.rows)).flatten().log()).log()
        gaps = torch.cdist(vectors, book).min(1).values
        tickets = (2 * gaps.clamp(min=1e-12).log() + luck).argsort(descending=True)
        places = (dead.cumsum(0) - 1).clamp(min=0) % len(tickets)  # the first drawn to the first of the dead
        book.copy_(torch.where(dead[:, None], vectors[tickets[places]], book))
        count.copy_(torch.where(dead, max(1.0, 2 * least), count))  # time enough to be found useful
        total.copy_(torch.where(dead[:, None], book * count[:, None], total))
        codes = self.nearest(vectors)
        count.lerp_(torch.bincount(codes, minlength=len(book)).float(), 1 - config.decay)
        total.lerp_(torch.zeros_like(total).index_add_(0, codes, vectors), 1 - config.decay)
        used = count > torch.finfo(count.dtype).tiny
        book.copy_(torch.where(used[:, None], total / count.clamp(min=1e-30)[:, None], book))
        return {}

    @torch.no_grad()
    def settle(self) -> None:
        """Take a codebook from elsewhere for one that was averaged for long enough to be believed."""
        self.get_buffer("count").fill_(1)
        self.get_buffer("sum").copy_(self.codebook)


class FiniteScalarQuantizer(nn.Module):
    """Each number bounded, and rounded to one of its levels. Paper: arXiv 2309.15505, section 3.1 and appendix A.1.

    Args:
        config: How many levels.
    """

    def __init__(self, config: FSQBottleneck) -> None:
        super().__init__()
        self.config = config
        levels = torch.tensor(config.levels)
        self.register_buffer("levels", levels, persistent=False)
        self.register_buffer("basis", torch.cumprod(levels, 0) // levels, persistent=False)

    @property
    def codebook(self) -> Vectors:
        """The values of every code: each number in -1 to 1."""
        codes = torch.arange(self.config.codes, device=self.get_buffer("levels").device)
        return self.values(codes[None, None])[0, :, 0].T

    def forward(self, latents: Latents) -> Quantized:
        """The codes of some rows; the commitment is 0, for nothing is learned that it could be to."""
        levels, basis = (self.get_buffer(name)[:, None, None] for name in ("levels", "basis"))
        half, whole = (levels - 1) * (1 + 1e-3) / 2, levels // 2  # a little more, so that the outmost are reached
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)
        bounded = (latents + (offset / half).atanh()).tanh() * half - offset
        rounded = bounded + (bounded.round() - bounded).detach()
        codes = ((rounded.detach() + whole) * basis).sum(1).round().long()
        return Quantized(rounded / whole, codes, torch.zeros_like(latents[:, 0, 0, 0]))

    def values(self, codes: Codes) -> Latents:
        """What codes stand for."""
        levels, basis = (self.get_buffer(name)[:, None, None] for name in ("levels", "basis"))
        return (codes[:, None] // basis % levels - levels // 2) / (levels // 2)


class LookupFreeQuantizer(nn.Module):
    """The sign of each number. Paper: arXiv 2310.05737, section 3.1.

    Args:
        config: How many numbers.
    """

    def __init__(self, config: LFQBottleneck) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("basis", 2 ** torch.arange(config.bits), persistent=False)

    @property
    def codebook(self) -> Vectors:
        """The values of every code: each number is -1 or 1."""
        codes = torch.arange(self.config.codes, device=self.get_buffer("basis").device)
        return self.values(codes[None, None])[0, :, 0].T

    def forward(self, latents: Latents) -> Quantized:
        """The codes of some rows."""
        codes = ((latents > 0) * self.get_buffer("basis")[:, None, None]).sum(1)
        return quantized(latents, self.values(codes), codes)

    def values(self, codes: Codes) -> Latents:
        """What codes stand for."""
        return (codes[:, None] // self.get_buffer("basis")[:, None, None] % 2 * 2 - 1).float()

    @torch.no_grad()
    def prepare(self, latents: Latents, rng: Rng) -> Batch:
        """How likely each code is in the whole batch."""
        share = self.likely(latents.float()).mean(0)
        return {SHARE: share.clamp(min=1e-30).log().expand(len(rng.rows), -1)}

    def likely(self, latents: Latents) -> Float[Tensor, "rows codes"]:
        """The probability of each code in each row, a mean over its places: bits are independent of each other."""
        logits = 4 * latents.flatten(2).movedim(1, 2) / self.config.temperature
        joint = logits.new_ones(*logits.shape[:2], 1)
        for bit in range(self.config.bits):
            on = logits[..., bit : bit + 1].sigmoid()
            joint = torch.cat((joint * (1 - on), joint * on), -1)
        return joint.mean(1)

    def entropy(self, latents: Latents, log_share: Float[Tensor, "rows codes"]) -> Rows:
        """How undecided each place is, less how varied the batch is. Paper: eq. 5.

        The batch's entropy is not a sum over rows, but with the logarithm of its shares at hand its value and its
        gradient are.
        """
        logits = 4 * latents / self.config.temperature
        doubt = F.softplus(logits) - logits * logits.sigmoid()
        return doubt.sum(1).flatten(1).mean(1) + (self.likely(latents) * log_share).sum(1)


Quantizer = VectorQuantizer | FiniteScalarQuantizer | LookupFreeQuantizer


def quantizer_of(config: VQBottleneck | FSQBottleneck | LFQBottleneck) -> Quantizer:
    """The quantizer that a bottleneck asks for."""
    match config:
        case VQBottleneck():
            return VectorQuantizer(config)
        case FSQBottleneck():
            return FiniteScalarQuantizer(config)
        case LFQBottleneck():
            return LookupFreeQuantizer(config)

"""A diffusion transformer: patches as tokens, time and label through adaptive norms that begin at zero.

Parameter names and results are those of diffusers' `DiTTransformer2DModel`. Paper: DiT, arXiv 2212.09748, section 3.2.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.nets.image_blocks import SelfAttention, TimeEmbedding, sinusoids
from makar.nets.image_config import DiTConfig

Tokens = Float[Tensor, "rows tokens width"]
Told = Float[Tensor, "rows width"]

TIME_WIDTH = 256
"""Of the sinusoids, as in the paper's code."""


def positions(side: int, width: int, spacing: float = 1.0) -> Float[Tensor, "tokens width"]:
    """Sines and cosines of each token's column, then of its row. Paper: arXiv 2111.06377, its code.

    Args:
        side: Tokens in a row and in a column.
        width: Of a token.
        spacing: Between two neighbours.
    """
    rates = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    angle = torch.arange(side, dtype=torch.float64)[:, None] * spacing * rates
    waves = torch.cat((angle.sin(), angle.cos()), 1)
    columns, rows = waves.repeat(side, 1), waves.repeat_interleave(side, 0)
    return torch.cat((columns, rows), 1).float()


class Patches(nn.Module):
    """Pictures to tokens that know where they lie."""

    def __init__(self, config: DiTConfig, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(config.in_channels, width, config.patch_size, config.patch_size)
        side = config.sample_size // config.patch_size
        self.register_buffer("positions", positions(side, width), persistent=False)

    def forward(self, x: Float[Tensor, "rows channels high wide"]) -> Tokens:
        """Row by row."""
        # Each token's values side by side in memory: blocks compiled for a CPU in bf16 may say NaN of another order.
        return self.proj(x).flatten(2).transpose(1, 2).contiguous() + self.get_buffer("positions")


class LabelTable(nn.Module):
    """A vector for each label; the last is of no label."""

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(labels, width)


class Condition(nn.Module):
    """Time and label as one vector."""

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.timestep_embedder = TimeEmbedding(TIME_WIDTH, width)
        self.class_embedder = LabelTable(labels, width)

    def forward(self, time: Float[Tensor, " rows"], labels: Int[Tensor, " rows"]) -> Told:
        """Their sum."""
        return self.timestep_embedder(sinusoids(time, TIME_WIDTH, shift=1)) + self.class_embedder.embedding_table(
            labels
        )


class AdaptiveNorm(nn.Module):
    """What a block makes of the condition: two shifts, two scales and two gates."""

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.emb = Condition(labels, width)
        self.linear = nn.Linear(width, 6 * width)

    def forward(self, time: Float[Tensor, " rows"], labels: Int[Tensor, " rows"]) -> tuple[Tensor, ...]:
        """Each `[rows, 1, width]`."""
        return self.linear(F.silu(self.emb(time, labels)))[:, None].chunk(6, 2)


class Widened(nn.Module):
    """The first of the two feed-forward layers."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner)

    def forward(self, x: Tokens) -> Float[Tensor, "rows tokens inner"]:
        """After its activation."""
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    """Two layers; in a list with a hole, because diffusers keeps a dropout between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleDict({"0": Widened(width, 4 * width), "2": nn.Linear(4 * width, width)})

    def forward(self, x: Tokens) -> Tokens:
        """Each token by itself."""
        return self.net["2"](self.net["0"](x))


class DiTBlock(nn.Module):
    """Attention and feed-forward, each behind an adaptive norm and a gate."""

    def __init__(self, config: DiTConfig, width: int) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.norm1 = AdaptiveNorm(config.num_classes + 1, width)
        self.attn1 = SelfAttention(width, config.attention_head_dim)
        self.ff = FeedForward(width)

    def forward(self, x: Tokens, time: Float[Tensor, " rows"], labels: Int[Tensor, " rows"]) -> Tokens:
        """The tokens, once more."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.norm1(time, labels)
        x = x + gate1 * self.attn1(normed(x, 1e-6) * (1 + scale1) + shift1)
        return x + gate2 * self.ff(normed(x, self.eps) * (1 + scale2) + shift2)


def normed(x: Tokens, eps: float) -> Tokens:
    """A layer norm without weights."""
    return F.layer_norm(x, x.shape[-1:], eps=eps)


class DiT(nn.Module):
    """A transformer that is told a time, and a label where it knows labels.

    Args:
        config: Its shape.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.num_attention_heads * config.attention_head_dim
        self.pos_embed = Patches(config, width)
        self.transformer_blocks = nn.ModuleList(DiTBlock(config, width) for _ in range(config.num_layers))
        self.proj_out_1 = nn.Linear(width, 2 * width)
        self.proj_out_2 = nn.Linear(width, config.patch_size**2 * config.out_channels)
        self.begin()

    def begin(self) -> None:
        """Every block begins as the identity, and the whole net at zero. Paper: section 3.2, "adaLN-Zero"."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for module in self.modules():
            if isinstance(module, TimeEmbedding):
                for layer in (module.linear_1, module.linear_2):
                    nn.init.normal_(layer.weight, std=0.02)
        nn.init.xavier_uniform_(self.pos_embed.proj.weight.view(self.pos_embed.proj.out_channels, -1))
        gates = [block.norm1.linear for block in self.transformer_blocks if isinstance(block, DiTBlock)]
        for layer in (*gates, self.proj_out_1, self.proj_out_2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        x: Float[Tensor, "rows channels high wide"],
        time: Float[Tensor, " rows"],
        labels: Int[Tensor, " rows"] | None = None,
    ) -> Float[Tensor, "rows out high wide"]:
        """A prediction for every place.

        Args:
            x: Pictures.
            time: Of each; 0 to 1,000 where a path has steps.
            labels: Of each; None for no label.
        """
        config = self.config
        side, patch = config.sample_size // config.patch_size, config.patch_size
        if labels is None:
            labels = torch.full((len(x),), config.num_classes, device=x.device)
        h = self.pos_embed(x)
        for block in self.transformer_blocks:
            h = block(h, time, labels)
        first = self.transformer_blocks[0]
        assert isinstance(first, DiTBlock)
        shift, scale = self.proj_out_1(F.silu(first.norm1.emb(time, labels)))[:, None].chunk(2, 2)
        h = self.proj_out_2(normed(h, 1e-6) * (1 + scale) + shift)
        h = h.view(len(x), side, side, patch, patch, config.out_channels)
        return h.permute(0, 5, 1, 3, 2, 4).reshape(len(x), config.out_channels, side * patch, side * patch)

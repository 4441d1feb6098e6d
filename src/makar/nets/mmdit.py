"""A diffusion transformer that reads: tokens of a picture and of a text, each with weights of its own, attend together.

Time and the text as a whole steer every block through adaptive norms that begin at zero. Parameter names and results
are those of diffusers' `SD3Transformer2DModel`. Paper: MMDiT, arXiv 2403.03206, section 4 and figure 2.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from makar.nets.attention import attend_all
from makar.nets.decoder import RMSNorm
from makar.nets.dit import FeedForward, normed, positions
from makar.nets.image_blocks import TimeEmbedding, sinusoids
from makar.nets.mmdit_config import MMDiTConfig

Tokens = Float[Tensor, "rows tokens width"]
Text = Float[Tensor, "rows length width"]
Heads = Float[Tensor, "rows heads tokens head_dim"]
Told = Float[Tensor, "rows width"]

TIME_WIDTH = 256
"""Of the sinusoids."""

EPS = 1e-6
"""Of every norm."""


class Patches(nn.Module):
    """Pictures to tokens that know where they lie: a smaller picture lies in the middle of the largest one."""

    def __init__(self, config: MMDiTConfig, width: int) -> None:
        super().__init__()
        patch, self.grid = config.patch_size, config.pos_embed_max_size
        self.proj = nn.Conv2d(config.in_channels, width, patch, patch)
        spacing = config.sample_size // patch / self.grid
        self.register_buffer("pos_embed", positions(self.grid, width, spacing)[None])

    def forward(self, x: Float[Tensor, "rows channels high wide"]) -> Tokens:
        """Row by row."""
        x = self.proj(x)
        high, wide = x.shape[2:]
        assert max(high, wide) <= self.grid, f"{high}x{wide} tokens, and positions for {self.grid}x{self.grid}"
        top, left = (self.grid - high) // 2, (self.grid - wide) // 2
        places = self.get_buffer("pos_embed").view(self.grid, self.grid, -1)[top : top + high, left : left + wide]
        # Each token's values side by side in memory: else blocks compiled for a CPU in bf16 say NaN.
        return (x + places.permute(2, 0, 1)).flatten(2).transpose(1, 2).contiguous()


class Condition(nn.Module):
    """Time and the text as a whole as one vector."""

    def __init__(self, pooled: int, width: int) -> None:
        super().__init__()
        self.timestep_embedder = TimeEmbedding(TIME_WIDTH, width)
        self.text_embedder = TimeEmbedding(pooled, width)

    def forward(self, time: Float[Tensor, " rows"], pooled: Float[Tensor, "rows pooled"]) -> Told:
        """Their sum."""
        return self.timestep_embedder(sinusoids(time, TIME_WIDTH)) + self.text_embedder(pooled)


class AdaptiveNorm(nn.Module):
    """What a block makes of the condition: so many shifts, scales or gates, each `[rows, 1, width]`."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count, self.linear = count, nn.Linear(width, count * width)

    def forward(self, condition: Told) -> tuple[Tensor, ...]:
        """Of the condition after its activation."""
        return self.linear(condition)[:, None].chunk(self.count, 2)


class JointAttention(nn.Module):
    """Every token of picture and text looks at all.

    Args:
        config: Of the net.
        text: Whether there is a text; else the picture's tokens attend to themselves.
        last: Whether nobody reads the text any more: its tokens are looked at and do not look.
    """

    def __init__(self, config: MMDiTConfig, *, text: bool = True, last: bool = False) -> None:
        super().__init__()
        self.head_dim, self.last = config.attention_head_dim, last
        width, normal = config.caption_projection_dim, config.qk_norm is not None
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])  # a list, because diffusers keeps a dropout behind it
        self.norm_q, self.norm_k = (RMSNorm(self.head_dim, EPS) if normal else nn.Identity() for _ in range(2))
        if not text:
            return
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (nn.Linear(width, width) for _ in range(3))
        self.norm_added_q, self.norm_added_k = (
            RMSNorm(self.head_dim, EPS) if normal else nn.Identity() for _ in range(2)
        )
        if not last:
            self.to_add_out = nn.Linear(width, width)

    def heads(self, x: Tokens) -> Heads:
        """Heads before tokens."""
        return x.unflatten(2, (-1, self.head_dim)).transpose(1, 2)

    def alone(self, x: Tokens) -> Tokens:
        """What each token of the picture takes from the picture."""
        q, k, v = (self.heads(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        found = attend_all(self.norm_q(q), self.norm_k(k), v)
        return self.to_out[0](found.transpose(1, 2).flatten(2))

    def forward(self, x: Tokens, text: Text, bias: Tensor | None) -> tuple[Tokens, Text | None]:
        """What each token of the picture, and of the text where it is read on, takes from both.

        Args:
            x: Of the picture.
            text: Of the text.
            bias: Added to what each token is worth to all, `[1, 1, 1, tokens]`; None for nothing.
        """
        q, k, v = (self.heads(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))
        k2, v2 = self.heads(self.add_k_proj(text)), self.heads(self.add_v_proj(text))
        q = self.norm_q(q)
        if not self.last:
            q = torch.cat((q, self.norm_added_q(self.heads(self.add_q_proj(text)))), 2)
        k = torch.cat((self.norm_k(k), self.norm_added_k(k2)), 2)
        found = attend_all(q, k, torch.cat((v, v2), 2), bias)
        found = found.transpose(1, 2).flatten(2)
        seen = self.to_out[0](found[:, : x.shape[1]])
        return seen, None if self.last else self.to_add_out(found[:, x.shape[1] :])


class JointBlock(nn.Module):
    """Attention together, then feed-forward layers apart, each behind an adaptive norm and a gate.

    Args:
        config: Of the net.
        dual: Whether the picture attends to itself once more.
        last: Whether the text ends here.
    """

    def __init__(self, config: MMDiTConfig, *, dual: bool, last: bool) -> None:
        super().__init__()
        width = config.caption_projection_dim
        self.last = last
        self.norm1 = AdaptiveNorm(width, 9 if dual else 6)
        self.norm1_context = AdaptiveNorm(width, 2 if last else 6)
        self.attn = JointAttention(config, last=last)
        self.attn2 = JointAttention(config, text=False) if dual else None
        self.ff = FeedForward(width)
        self.ff_context = None if last else FeedForward(width)

    def forward(self, x: Tokens, text: Text, condition: Told, bias: Tensor | None) -> tuple[Tokens, Text]:
        """Both, once more; the text as it was where it ends here.

        Args:
            x: Of the picture.
            text: Of the text.
            condition: After its activation.
            bias: As `JointAttention` takes it.
        """
        shift1, scale1, gate1, shift2, scale2, gate2, *more = self.norm1(condition)
        still = normed(x, EPS)
        if self.ff_context is None:
            scale, shift = self.norm1_context(condition)
            taken, _ = self.attn(still * (1 + scale1) + shift1, normed(text, EPS) * (1 + scale) + shift, bias)
        else:
            shift3, scale3, gate3, shift4, scale4, gate4 = self.norm1_context(condition)
            taken, read = self.attn(still * (1 + scale1) + shift1, normed(text, EPS) * (1 + scale3) + shift3, bias)
            text = text + gate3 * read
            text = text + gate4 * self.ff_context(normed(text, EPS) * (1 + scale4) + shift4)
        x = x + gate1 * taken
        if self.attn2 is not None:
            shift5, scale5, gate5 = more
            x = x + gate5 * self.attn2.alone(still * (1 + scale5) + shift5)
        return x + gate2 * self.ff(normed(x, EPS) * (1 + scale2) + shift2), text


def heard(
    config: MMDiTConfig, embedder: nn.Module, x: Tokens, tokens: Float[Tensor, "rows length joint"]
) -> tuple[Float[Tensor, "rows heard width"], Tensor | None]:
    """The tokens of texts as the net's blocks take them, and the bias of its attention.

    Args:
        config: Of the net.
        embedder: To the net's width.
        x: Of the pictures.
        tokens: Of the texts.
    """
    if not config.empty_tokens:
        return embedder(tokens), None
    # No token of a text has a position: equal ones stay equal, and one stands for all.
    tokens = F.pad(tokens, (0, 0, 0, 1))
    bias = x.new_zeros(1, 1, 1, x.shape[1] + tokens.shape[1])
    bias[..., -1] = math.log(config.empty_tokens)
    return embedder(tokens), bias


class MMDiT(nn.Module):
    """A transformer that is told a time and a text.

    Args:
        config: Its shape.
    """

    def __init__(self, config: MMDiTConfig) -> None:
        super().__init__()
        self.config = config
        width, count = config.caption_projection_dim, config.num_layers
        self.pos_embed = Patches(config, width)
        self.time_text_embed = Condition(config.pooled_projection_dim, width)
        self.context_embedder = nn.Linear(config.joint_attention_dim, width)
        self.transformer_blocks = nn.ModuleList(
            JointBlock(config, dual=place in config.dual_attention_layers, last=place == count - 1)
            for place in range(count)
        )
        self.norm_out = AdaptiveNorm(width, 2)
        self.proj_out = nn.Linear(width, config.patch_size**2 * config.out_channels)
        self.begin()

    def begin(self) -> None:
        """Every block begins as the identity, and the whole net at zero. Paper: arXiv 2212.09748, section 3.2."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, AdaptiveNorm):
                nn.init.zeros_(module.linear.weight)
        for layer in (self.time_text_embed.timestep_embedder.linear_1, self.time_text_embed.timestep_embedder.linear_2):
            nn.init.normal_(layer.weight, std=0.02)
        nn.init.xavier_uniform_(self.pos_embed.proj.weight.view(self.pos_embed.proj.out_channels, -1))
        nn.init.zeros_(self.proj_out.weight)

    def forward(
        self,
        x: Float[Tensor, "rows channels high wide"],
        time: Float[Tensor, " rows"],
        tokens: Float[Tensor, "rows length joint"],
        pooled: Float[Tensor, "rows pooled"],
        added: Sequence[Tokens] = (),
    ) -> Float[Tensor, "rows out high wide"]:
        """A prediction for every place.

        Args:
            x: Pictures; their sides are multiples of the patch, and no longer than there are positions.
            time: Of each, 0 to 1,000.
            tokens: Of each text; the empty ones behind them are not among these.
            pooled: Each text as a whole.
            added: To the picture's tokens behind the blocks, each behind as many; nothing behind the last.
        """
        config = self.config
        high, wide = (side // config.patch_size for side in x.shape[2:])
        h = self.pos_embed(x)
        text, bias = heard(config, self.context_embedder, h, tokens)
        condition, depth = F.silu(self.time_text_embed(time, pooled)), len(self.transformer_blocks)
        for place, block in enumerate(self.transformer_blocks):
            h, text = block(h, text, condition, bias)
            if added and place < depth - 1:
                h = h + added[place * len(added) // depth]
        scale, shift = self.norm_out(condition)
        h = self.proj_out(normed(h, EPS) * (1 + scale) + shift)
        h = h.view(len(x), high, wide, config.patch_size, config.patch_size, config.out_channels)
        return h.permute(0, 5, 1, 3, 2, 4).reshape(len(x), config.out_channels, *x.shape[2:])

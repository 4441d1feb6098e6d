"""The decoder of Llama, Mistral, Qwen2 and Qwen3; its parameters bear the names they have in `transformers`.

Paper: arXiv 2302.13971 (pre-norm, SwiGLU, rotary positions); 2505.09388 (QK-norm); 2407.10671 (biases).
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.core.errors import InputError, ModelError
from makar.nets.attention import attend, attend_cached
from makar.nets.cache import Cache, LayerCache
from makar.nets.config import DecoderConfig
from makar.nets.rope import Rotation, rotate, rotation

Hidden = Float[Tensor, "rows time width"]


class RMSNorm(nn.Module):
    """Divide by the root mean square, in float32 whatever comes in. Paper: arXiv 1910.07467, eq. 4."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Normalise the last dimension."""
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class MLP(nn.Module):
    """SwiGLU. Paper: arXiv 2002.05202, eq. 6."""

    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, x: Hidden) -> Hidden:
        """Gate, multiply, project back."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, and QK-norm or biases where the config has them."""

    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        bias = c.attention_bias or c.qkv_bias
        self.head_dim, self.window = c.head_dim, c.sliding_window
        self.q_proj = nn.Linear(c.hidden_size, c.num_attention_heads * c.head_dim, bias=bias)
        self.k_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=bias)
        self.v_proj = nn.Linear(c.hidden_size, c.num_key_value_heads * c.head_dim, bias=bias)
        self.o_proj = nn.Linear(c.num_attention_heads * c.head_dim, c.hidden_size, bias=c.attention_bias)
        self.q_norm = RMSNorm(c.head_dim, c.rms_norm_eps) if c.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(c.head_dim, c.rms_norm_eps) if c.qk_norm else nn.Identity()

    def forward(
        self,
        x: Hidden,
        turn: Rotation,
        segments: Int[Tensor, "rows time"] | None,
        positions: Int[Tensor, "rows time"] | None,
        cache: LayerCache | None,
    ) -> Hidden:
        """Look back: over the rows themselves, or over a cache that takes the new keys and values in first."""
        q, k, v = (part(x).unflatten(-1, (-1, self.head_dim)) for part in (self.q_proj, self.k_proj, self.v_proj))
        q = rotate(self.q_norm(q).transpose(1, 2), turn)
        k = rotate(self.k_norm(k).transpose(1, 2), turn)
        v = v.transpose(1, 2)
        if cache is None or positions is None:
            seen = attend(q, k, v, segments, self.window)
        else:
            cache.write(k, v, positions)
            seen = attend_cached(q, cache.keys, cache.values, positions, self.window)
        return self.o_proj(seen.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """One block: attention, then the MLP, each on a normalised copy and added back."""

    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = MLP(c)

    def forward(
        self,
        x: Hidden,
        turn: Rotation,
        segments: Int[Tensor, "rows time"] | None = None,
        positions: Int[Tensor, "rows time"] | None = None,
        cache: LayerCache | None = None,
    ) -> Hidden:
        """The residual stream, one block later."""
        x = x + self.self_attn(self.input_layernorm(x), turn, segments, positions, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    """Embedding, blocks and last norm: tokens to hidden states."""

    def __init__(self, c: DecoderConfig) -> None:
        super().__init__()
        self.config = c
        # Not filled here: on the meta device nn.Embedding's own filling takes two seconds of imports.
        self.embed_tokens = nn.Embedding.from_pretrained(torch.empty(c.vocab_size, c.hidden_size), freeze=False)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(
        self,
        tokens: Int[Tensor, "rows time"],
        segments: Int[Tensor, "rows time"] | None = None,
        positions: Int[Tensor, "#rows time"] | None = None,
        cache: Cache | None = None,
        embeddings: Hidden | None = None,
    ) -> Hidden:
        """Hidden states after the last norm; see `Decoder.forward` for the arguments.

        Args:
            tokens: As there.
            segments: As there.
            positions: As there.
            cache: As there.
            embeddings: What is read in the tokens' places, where that is not all words.
        """
        length, most = tokens.shape[1], self.config.max_position_embeddings
        if length > most:
            raise InputError(
                "the context is longer than the model was trained for",
                value=f"{length} tokens",
                fix=f"give at most {most} (max_position_embeddings)",
            )
        if positions is None:
            positions = torch.arange(length, device=tokens.device)[None]
            if cache is not None:
                positions = cache.lengths[:, None] + positions
        turn = rotation(positions, self.config)
        x = self.embed_tokens(tokens) if embeddings is None else embeddings
        for index, layer in enumerate(self.layers):
            x = layer(x, turn, segments) if cache is None else layer(x, turn, None, positions, cache.layer(index))
        return self.norm(x)


class Decoder(nn.Module):
    """Tokens to logits. Without a `lm_head` of its own, the output matrix is the embedding."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        if not config.vocab_size:
            raise ModelError("vocab_size is 0", fix="set it to the tokenizer's number of tokens")
        self.config = config
        self.model = Trunk(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.reset_parameters()

    @property
    def output_weight(self) -> Float[Tensor, "vocab width"]:
        """The matrix from hidden states to logits."""
        return self.model.embed_tokens.weight if self.config.tie_word_embeddings else self.lm_head.weight

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fresh weights: normal; biases zero, norms one.

        What a block writes to the residual stream starts narrower, so that its variance does not grow with depth
        (GPT-2, section 2.3). On the meta device there is nothing to fill: stored weights are on their way.
        """
        if self.output_weight.is_meta:
            return
        deviation = self.config.initializer_range
        narrow = deviation / math.sqrt(2 * self.config.num_hidden_layers)
        for name, module in self.named_modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                writes = name.endswith(("o_proj", "down_proj"))
                nn.init.normal_(module.weight, 0.0, narrow if writes else deviation)
                if isinstance(module, nn.Linear) and cast(Tensor | None, module.bias) is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        tokens: Int[Tensor, "rows time"],
        segments: Int[Tensor, "rows time"] | None = None,
        positions: Int[Tensor, "#rows time"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "rows time vocab"]:
        """Logits of the token after each.

        Args:
            tokens: Ids.
            segments: Which document of a packed row each token belongs to: none looks into another. Rotary positions
                do not restart, for only differences of positions count.
            positions: Places of the tokens; 0, 1, ... by default, or each row's next free places in the cache.
            cache: Read and written in place; its caller moves `lengths`.
        """
        return F.linear(self.model(tokens, segments, positions, cache), self.output_weight)

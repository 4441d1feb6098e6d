"""A decoder laid out anew to read one token a row, which is what generation spends its time on.

The same sums in fewer and larger products: queries, keys and values in one, gate and up in one. The matrices lie
transposed, which a product of few rows reads up to twice as fast on a CPU. The mask and the rotation are made once a
token, not once a layer. The layout is a copy: weights that have changed need a new reader.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.nets.cache import LayerCache
from makar.nets.decoder import Decoder, Layer, RMSNorm
from makar.nets.lora import answering_weight
from makar.nets.rope import Rotation, frequencies, rotate, turned

Rows = Float[Tensor, "rows width"]


class Product(nn.Module):
    """Some linear layers side by side, as one product with a constant."""

    def __init__(self, weights: list[Tensor], biases: list[Tensor | None]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.cat([weight.detach() for weight in weights]).T.contiguous(), False)
        present = [bias.detach() for bias in biases if bias is not None]
        self.bias = nn.Parameter(torch.cat(present), False) if present else None

    @classmethod
    def of(cls, *layers: nn.Linear) -> "Product":
        """The product that does what the layers do, with the adapter that answers."""
        return cls([answering_weight(layer) for layer in layers], [layer.bias for layer in layers])

    def forward(self, x: Float[Tensor, "rows wide"]) -> Float[Tensor, "rows out"]:
        """All their outputs, in their order."""
        return x @ self.weight if self.bias is None else torch.addmm(self.bias, x, self.weight)


class Norm(nn.Module):
    """RMSNorm in half as many operations: the root mean square is hypot(‖x‖, √(eps · width)) / √width."""

    def __init__(self, norm: RMSNorm) -> None:
        super().__init__()
        width = norm.weight.shape[0]
        self.weight = nn.Parameter(math.sqrt(width) * norm.weight.detach().float(), False)
        self.least = nn.Parameter(torch.full((1,), math.sqrt(norm.eps * width), device=norm.weight.device), False)

    def forward(self, x: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """Normalise the last dimension, in float32 whatever comes in."""
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        return (x / torch.hypot(length, self.least) * self.weight).to(x.dtype)


class ReaderLayer(nn.Module):
    """One block."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.head_dim = attention.head_dim
        self.heads = attention.q_proj.out_features // self.head_dim
        self.groups = attention.k_proj.out_features // self.head_dim
        self.before, self.between = Norm(layer.input_layernorm), Norm(layer.post_attention_layernorm)
        pair = (attention.q_norm, attention.k_norm)
        self.head_norms = nn.ModuleList(Norm(norm) for norm in pair if isinstance(norm, RMSNorm))
        self.qkv = Product.of(attention.q_proj, attention.k_proj, attention.v_proj)
        self.o = Product.of(attention.o_proj)
        self.gate_up = Product.of(mlp.gate_proj, mlp.up_proj)
        self.down = Product.of(mlp.down_proj)

    def forward(
        self,
        x: Rows,
        turn: Rotation,
        mask: Float[Tensor, "rows 1 1 room"],
        index: Int[Tensor, "rows groups 1 head_dim"],
        cache: LayerCache,
    ) -> Rows:
        """The residual stream, one block later; the cache takes the new keys and values in."""
        rows, heads, groups = len(x), self.heads, self.groups
        qkv = self.qkv(self.before(x)).view(rows, heads + 2 * groups, 1, self.head_dim)
        qk = qkv[:, : heads + groups]
        if self.head_norms:
            q_norm, k_norm = self.head_norms
            qk = torch.cat((q_norm(qk[:, :heads]), k_norm(qk[:, heads:])), 1)
        qk = rotate(qk, turn)
        cache.keys.scatter_(2, index, qk[:, heads:])
        cache.values.scatter_(2, index, qkv[:, heads + groups :])
        together = qk[:, :heads].reshape(rows, groups, heads // groups, self.head_dim)  # a group's heads as queries
        seen = F.scaled_dot_product_attention(together, cache.keys, cache.values, mask)
        x = x + self.o(seen.reshape(rows, -1))
        gate, up = self.gate_up(self.between(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Reader(nn.Module):
    """Reads the next token of every row, as `Decoder` does with a cache."""

    def __init__(self, net: Decoder) -> None:
        super().__init__()
        self.config = net.config
        self.embed_tokens, self.norm = net.model.embed_tokens, Norm(net.model.norm)
        self.layers = nn.ModuleList(ReaderLayer(layer) for layer in net.model.layers if isinstance(layer, Layer))
        self.head = Product([net.output_weight], [None])
        self.frequencies = nn.Parameter(frequencies(net.config, net.output_weight.device), False)

    def forward(
        self,
        tokens: Int[Tensor, " rows"],
        keys: Float[Tensor, "rows layers groups room head_dim"],
        values: Float[Tensor, "rows layers groups room head_dim"],
        lengths: Int[Tensor, " rows"],
    ) -> Float[Tensor, "rows vocab"]:
        """Logits after one more token of each row.

        Args:
            tokens: The last of each row.
            keys: As in `Cache`; takes the new ones in, in place.
            values: Likewise.
            lengths: Tokens that each row held before; the caller moves them.
        """
        config, x = self.config, self.embed_tokens(tokens)
        there = torch.arange(keys.shape[3], device=x.device)
        unseen = there > lengths[:, None]
        if config.sliding_window is not None:
            unseen = unseen | (there <= lengths[:, None] - config.sliding_window)
        mask = torch.zeros_like(unseen, dtype=x.dtype).masked_fill(unseen, -math.inf)[:, None, None]
        cosines, sines = turned(lengths[:, None], self.frequencies)
        turn = cosines.to(x.dtype), sines.to(x.dtype)
        index = lengths[:, None, None, None].expand(-1, config.num_key_value_heads, 1, config.head_dim)
        for place, layer in enumerate(self.layers):
            x = layer(x, turn, mask, index, LayerCache(keys[:, place], values[:, place]))
        return self.head(self.norm(x))

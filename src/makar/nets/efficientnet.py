"""EfficientNet-Lite0, as a network that sees: pictures to 1,280 features, with the weights that others trained.

Paper: Tan & Le 2019, arXiv:1905.11946, table 1; without squeeze-and-excitation and with ReLU6, as the lite ones are.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
"""Blocks, kernel, stride of the first, expansion, channels."""

STEM, HEAD, SIDE = 32, 1280, 224
"""Channels of the first layer and of the last; pixels of the squares that it was trained on."""


class Layer(nn.Module):
    """A convolution that keeps the size up to its stride, as TensorFlow pads, and a normalisation."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1, *, bent: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outside, eps=1e-3)
        self.kernel, self.stride, self.bent = kernel, stride, bent

    def forward(self, x: Float[Tensor, "rows inside high wide"]) -> Float[Tensor, "rows outside lines places"]:
        """Pad at the end by one more than at the beginning where the padding is odd."""
        lacking = [max(0, (-(-side // self.stride) - 1) * self.stride + self.kernel - side) for side in x.shape[:1:-1]]
        x = self.norm(self.conv(F.pad(x, [pad for each in lacking for pad in (each // 2, each - each // 2)])))
        return F.relu6(x) if self.bent else x


class Block(nn.Module):
    """An inverted residual: to more channels, over places, back to few."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.layers = nn.Sequential(
            *([Layer(inside, wide, 1, bent=True)] if expansion > 1 else []),
            Layer(wide, wide, kernel, stride, wide, bent=True),
            Layer(wide, outside, 1, bent=False),
        )
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Float[Tensor, "rows inside high wide"]) -> Float[Tensor, "rows outside lines places"]:
        """The layers, beside what came in where it has the same shape."""
        return x + self.layers(x) if self.residual else self.layers(x)


class EfficientNetLite(nn.Module):
    """The network without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        blocks, inside = list[Block](), STEM
        for count, kernel, stride, expansion, outside in STAGES:
            for place in range(count):
                blocks.append(Block(inside, outside, kernel, 1 if place else stride, expansion))
                inside = outside
        self.stem = Layer(3, STEM, 3, 2, bent=True)
        self.blocks = nn.Sequential(*blocks)
        self.head = Layer(inside, HEAD, 1, bent=True)

    def forward(self, x: Float[Tensor, "rows 3 high wide"]) -> Float[Tensor, "rows features"]:
        """What it sees: the mean over places of its last layer.

        Args:
            x: Bytes less 127, over 128.
        """
        return self.head(self.blocks(self.stem(x))).mean((2, 3))


def published_names() -> dict[str, str]:
    """The names of our parameters and statistics by those of the published weights."""
    layers = [("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")]
    expansions = [expansion for count, _, _, expansion, _ in STAGES for _ in range(count)]
    for number, expansion in enumerate(expansions):
        theirs = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")][expansion == 1 :]
        for place, (conv, norm) in enumerate(theirs):
            layers.append((f"blocks.{number}.layers.{place}", f"_blocks.{number}.{conv}", f"_blocks.{number}.{norm}"))
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    named = {f"{conv}.weight": f"{ours}.conv.weight" for ours, conv, _ in layers}
    return named | {f"{norm}.{part}": f"{ours}.norm.{part}" for ours, _, norm in layers for part in parts}

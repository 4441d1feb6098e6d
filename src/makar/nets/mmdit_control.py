"""A frozen transformer that reads, and a copy of its first blocks that is shown a picture and adds to what it thinks.

Parameter names and results are those of diffusers' `SD3ControlNetModel` and `SD3Transformer2DModel`. Paper: ControlNet,
arXiv 2302.05543, section 3.1.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from makar.nets.mmdit import Condition, JointBlock, MMDiT, Patches, Tokens, heard
from makar.nets.mmdit_config import MMDiTConfig

Pictures = Float[Tensor, "rows channels high wide"]
Shown = Float[Tensor, "rows shown high wide"]


class ControlNet(nn.Module):
    """The copy: what each of its blocks says passes a layer that begins at zero.

    Args:
        config: Of the whole net, with its `control`.
    """

    def __init__(self, config: MMDiTConfig) -> None:
        super().__init__()
        assert config.control is not None, "the config says so"
        self.config, self.control = config, config.control
        width, count, patch = config.caption_projection_dim, config.control.num_layers, config.patch_size
        self.pos_embed = Patches(config, width)
        self.time_text_embed = Condition(config.pooled_projection_dim, width)
        self.context_embedder = nn.Linear(config.joint_attention_dim, width)
        self.transformer_blocks = nn.ModuleList(
            JointBlock(config, dual=place in config.dual_attention_layers, last=False) for place in range(count)
        )
        self.controlnet_blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.pos_embed_input = nn.ModuleDict({"proj": nn.Conv2d(config.control_channels, width, patch, patch)})
        for module in (*self.controlnet_blocks, self.pos_embed_input["proj"]):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)

    def copy(self, net: MMDiT) -> None:
        """Begin as the first blocks of a net."""
        for name in ("pos_embed", "time_text_embed", "context_embedder"):
            self.get_submodule(name).load_state_dict(net.get_submodule(name).state_dict())
        for mine, theirs in zip(self.transformer_blocks, net.transformer_blocks, strict=False):
            mine.load_state_dict(theirs.state_dict())

    def forward(
        self,
        x: Pictures,
        control: Shown,
        time: Float[Tensor, " rows"],
        tokens: Float[Tensor, "rows length joint"],
        pooled: Float[Tensor, "rows pooled"],
    ) -> list[Tokens]:
        """What is to be added behind the blocks of the net.

        Args:
            x: As the net is given it.
            control: What is shown, as large as that.
            time: Of each.
            tokens: Of each text.
            pooled: Each text as a whole.
        """
        h = self.pos_embed(x) + self.pos_embed_input["proj"](control).flatten(2).transpose(1, 2)
        if self.control.force_zeros_for_pooled_projection:
            pooled = pooled.new_zeros(pooled.shape)
        text, bias = heard(self.config, self.context_embedder, h, tokens)
        condition = F.silu(self.time_text_embed(time, pooled))
        said: list[Tokens] = []
        for block, out in zip(self.transformer_blocks, self.controlnet_blocks, strict=True):
            h, text = block(h, text, condition, bias)
            said.append(out(h))
        return said


class Controlled(nn.Module):
    """Both; only the copy is trained.

    Args:
        config: Of the net, with its `control`.
    """

    def __init__(self, config: MMDiTConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = MMDiT(config).requires_grad_(False)
        self.control = ControlNet(config)

    @property
    def blocks(self) -> list[nn.Module]:
        """The repeated units of both."""
        return [*self.control.transformer_blocks, *self.transformer.transformer_blocks]

    def forward(  # noqa: PLR0917 - in the order of the frozen net's
        self,
        x: Pictures,
        time: Float[Tensor, " rows"],
        tokens: Float[Tensor, "rows length joint"],
        pooled: Float[Tensor, "rows pooled"],
        control: Shown | None = None,
        strength: Float[Tensor, " rows"] | None = None,
    ) -> Pictures:
        """A prediction for every place.

        Args:
            x: As `MMDiT` takes it.
            time: Of each.
            tokens: Of each text.
            pooled: Each text as a whole.
            control: What is shown of each; None for nothing, which the frozen net answers alone.
            strength: How much that counts in each row; once if left out.
        """
        if control is None:
            return self.transformer(x, time, tokens, pooled)
        said = self.control(x, control, time, tokens, pooled)
        if strength is not None:
            said = [strength[:, None, None] * each for each in said]
        return self.transformer(x, time, tokens, pooled, said)

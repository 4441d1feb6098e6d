"""The shape of the diffusion transformer that reads texts, in the field names of diffusers; imports no torch."""

from typing import Any, Literal

from pydantic import Field, model_validator

from makar.core.config import Config

QkNorm = Literal["rms_norm"]


def default_grid(known: dict[str, Any]) -> int:
    """As many places in a row as a picture of the net's own size has."""
    return known["sample_size"] // known["patch_size"]


def default_width(known: dict[str, Any]) -> int:
    """Of the net itself."""
    return known["num_attention_heads"] * known["attention_head_dim"]


class ControlConfig(Config):
    """What a copy of a net's first blocks is shown, in diffusers' `SD3ControlNetModel`.

    Args:
        shows: "edges" of a picture, or "mask": what is known of it around a hole that is to be filled.
        num_layers: Blocks that are copied; fewer than the net has.
        force_zeros_for_pooled_projection: Whether the copy hears nothing of a text as a whole, as some from elsewhere.
    """

    shows: Literal["edges", "mask"] = "edges"
    num_layers: int = Field(default=2, gt=0)
    force_zeros_for_pooled_projection: bool = False


class MMDiTConfig(Config):
    """A transformer over pictures and texts together, diffusers' `SD3Transformer2DModel`.

    Args:
        sample_size: Height and width of a picture, in places.
        in_channels: Of a picture.
        out_channels: Of what comes out; as many by default.
        patch_size: Places in a row and in a column that make one token.
        num_layers: Depth.
        num_attention_heads: Heads.
        attention_head_dim: Width of a head; the net is `num_attention_heads * attention_head_dim` wide.
        joint_attention_dim: Width of a text's token; at least twice the text encoder's, which is read in both slots.
        caption_projection_dim: What that becomes: the net's own width.
        pooled_projection_dim: Width of a text's vector; twice the text encoder's.
        pos_embed_max_size: Tokens in the longest row or column that it has positions for; as many as `sample_size` has
            by default, more for pictures of other sides.
        dual_attention_layers: Blocks where the picture attends to itself once more (Stable Diffusion 3.5 medium).
        qk_norm: "rms_norm" for a norm over each head's queries and keys, as Stable Diffusion 3.5 has it.
        empty_tokens: Tokens of zeros behind each text, as `StableDiffusion3Pipeline` puts them where it has no T5: 256
            in a pipeline, 0 for none. All are equal, so they cost as much as one.
        control: What a copy of the first blocks is shown; the net itself is frozen then. A recipe's [control] sets it.
    """

    kind: Literal["mmdit"] = "mmdit"
    sample_size: int = Field(default=32, gt=0)
    in_channels: int = Field(default=3, gt=0)
    out_channels: int = Field(default_factory=lambda known: known["in_channels"], gt=0)
    patch_size: int = Field(default=2, gt=0)
    num_layers: int = Field(default=6, gt=0)
    num_attention_heads: int = Field(default=4, gt=0)
    attention_head_dim: int = Field(default=64, gt=0)
    joint_attention_dim: int = Field(default=256, gt=0)
    caption_projection_dim: int = Field(default_factory=default_width, gt=0)
    pooled_projection_dim: int = Field(default=256, gt=0)
    pos_embed_max_size: int = Field(default_factory=default_grid, gt=0)
    dual_attention_layers: tuple[int, ...] = ()
    qk_norm: QkNorm | None = None
    empty_tokens: int = Field(default=256, ge=0)
    control: ControlConfig | None = Field(default=None, exclude_if=lambda control: control is None)

    @model_validator(mode="after")
    def _fits(self) -> "MMDiTConfig":
        width = self.num_attention_heads * self.attention_head_dim
        if self.sample_size % self.patch_size:
            raise ValueError(f"set patch_size to a divisor of sample_size {self.sample_size} (got {self.patch_size})")
        if width % 4:
            raise ValueError("set num_attention_heads * attention_head_dim to a multiple of 4, for positions")
        if self.caption_projection_dim != width:
            raise ValueError(f"leave caption_projection_dim out: it is {width} (got {self.caption_projection_dim})")
        if self.pos_embed_max_size * self.patch_size < self.sample_size:
            least = self.sample_size // self.patch_size
            raise ValueError(f"set pos_embed_max_size to {least} or more (got {self.pos_embed_max_size})")
        if any(layer >= self.num_layers for layer in self.dual_attention_layers):
            raise ValueError(f"set dual_attention_layers below num_layers (got {max(self.dual_attention_layers)})")
        return self

    @property
    def control_channels(self) -> int:
        """Of what the copy is shown: a picture, and behind it where it is known."""
        return self.in_channels + (self.control is not None and self.control.shows == "mask")

    @property
    def num_classes(self) -> int:
        """It is told texts, and no classes."""
        return 0

    @property
    def null_class(self) -> bool:
        """The text that stands for none is the empty one, not a class."""
        return False

"""Our config in the words of diffusers' `AutoencoderKL` and `VQModel`, and back.

What these have no words for stands under `_makar`, as with every net for pictures. Levels are no model of diffusers':
its `VQModel` takes the nearest of some vectors, and does not bound numbers first. Their folder calls itself
`FSQModel`, and its tensors have the names of a `VQModel`.
"""

from collections.abc import Mapping
from typing import Any

from makar.core.config import parse
from makar.core.errors import ModelError, RecipeError
from makar.families.autoencoder.config import AutoencoderConfig
from makar.nets.autoencoder_config import (
    AnyBottleneck,
    AutoencoderNetConfig,
    FSQBottleneck,
    KLBottleneck,
    LFQBottleneck,
    VQBottleneck,
)

VERSION = "0.35.0"
"""Of diffusers: the least whose words these are."""

UNKNOWN = f"save it again with diffusers {VERSION}, or take the field out where it changes nothing"
"""What to do about a field that is not known."""

CLASSES: Mapping[str, str] = {"kl": "AutoencoderKL", "vq": "VQModel", "lfq": "VQModel", "fsq": "FSQModel"}
"""What each bottleneck's model is called."""

DOWN, UP = "DownEncoderBlock2D", "UpDecoderBlock2D"

FIXED: Mapping[str, tuple[Any, ...]] = {
    "act_fn": ("silu",),
    "norm_type": ("group",),
    "latents_mean": (None,),
    "latents_std": (None,),
    "lookup_from_codebook": (False,),
}
"""Fields of diffusers that our nets have one value of."""

UNREAD = ("force_upcast", "down_block_types", "up_block_types", "latent_channels")
"""Fields that are read elsewhere, or say nothing of the net."""


def to_ecosystem(config: AutoencoderConfig, generation: Mapping[str, Any]) -> dict[str, Any]:
    """The folder's config.json."""
    net, neck = config.net, config.net.bottleneck
    stages = len(net.block_out_channels)
    own = {
        "bottleneck": neck.model_dump(mode="json"),
        "critic": config.critic and config.critic.model_dump(mode="json"),
        "generation": dict(generation),
    }
    shifted = config.shift_factor or isinstance(
        neck, KLBottleneck
    )  # where there is none, pipelines add it all the same
    shift = {"shift_factor": config.shift_factor} if shifted else {}
    return {
        "_class_name": CLASSES[neck.kind],
        "_diffusers_version": VERSION,
        **net.model_dump(mode="json", exclude={"bottleneck"}),
        "down_block_types": [DOWN] * stages,
        "up_block_types": [UP] * stages,
        "act_fn": "silu",
        "latent_channels": neck.latent_channels,
        **neck_to_ecosystem(neck),
        "scaling_factor": config.scaling_factor,
        **shift,
        "_makar": own,
    }


def neck_to_ecosystem(neck: AnyBottleneck) -> dict[str, Any]:
    """The fields of a bottleneck."""
    match neck:
        case KLBottleneck():
            return neck.model_dump(include={"use_quant_conv", "use_post_quant_conv"})
        case VQBottleneck() | LFQBottleneck():
            return {"num_vq_embeddings": neck.codes, "vq_embed_dim": neck.latent_channels, "norm_type": "group"}
        case FSQBottleneck():
            return {"levels": list(neck.levels)}


def from_ecosystem(found: Mapping[str, Any], where: object) -> AutoencoderConfig:
    """The family's config from a folder's config.json.

    Raises:
        ModelError: It asks for what our nets lack.
    """
    own = found.get("_makar", {})
    if not isinstance(own, Mapping):
        raise ModelError("what makar wrote there is damaged", where=where, value=own, fix="copy the whole folder again")
    for field, values in FIXED.items():
        if found.get(field, values[0]) not in values:
            fix = f"makar builds {' or '.join(map(repr, values))}"
            raise ModelError(f"makar's net has no such {field!r}", where=where, value=found[field], fix=fix)
    for field, kind in (("down_block_types", DOWN), ("up_block_types", UP)):
        if set(found.get(field, ())) - {kind}:
            raise ModelError(f"makar's net has no such {field!r}", where=where, value=found[field], fix=f"{kind!r}")
    neck: Any = own.get("bottleneck") or neck_from_ecosystem(found, where)
    net = {
        name: value for name, value in found.items() if name in AutoencoderNetConfig.model_fields and value is not None
    }
    named = {*net, *FIXED, *UNREAD, "scaling_factor", "shift_factor", *necks()}
    unknown = [name for name in found if not name.startswith("_") and name not in named]
    if unknown:
        raise ModelError("the config has a field that makar does not know", where=where, value=unknown[0], fix=UNKNOWN)
    net |= {"layers_per_block": found.get("layers_per_block", 1), "bottleneck": neck}
    net.setdefault("norm_num_groups", 32)
    net.setdefault("mid_block_add_attention", True)
    net.setdefault("block_out_channels", (64,))
    plain = {
        "net": net,
        "critic": own.get("critic"),
        "scaling_factor": found.get("scaling_factor", 0.18215),
        "shift_factor": found.get("shift_factor") or 0.0,
    }
    try:
        return parse(AutoencoderConfig, plain, where)
    except RecipeError as fault:
        raise ModelError(str(fault), fix="copy the whole folder again") from None


def necks() -> set[str]:
    """Every field that a bottleneck may bring."""
    return {name for kind in (KLBottleneck, VQBottleneck, FSQBottleneck) for name in kind.model_fields}


def neck_from_ecosystem(found: Mapping[str, Any], where: object) -> dict[str, Any]:
    """The bottleneck of a folder that diffusers wrote.

    Raises:
        ModelError: A codebook as wide as the encoder's map is all that our nets have.
    """
    if found["_class_name"] == "AutoencoderKL":
        fields = {name: found[name] for name in KLBottleneck.model_fields if name in found}
        return {"kind": "kl", **fields}
    channels = found.get("latent_channels", 3)
    width = found.get("vq_embed_dim") or channels
    if width != channels:
        raise ModelError("makar's net has a codebook as wide as its codes", where=where, value=width, fix=f"{channels}")
    return {"kind": "vq", "num_vq_embeddings": found.get("num_vq_embeddings", 256), "vq_embed_dim": width}

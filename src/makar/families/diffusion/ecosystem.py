"""Our configs in the words of diffusers and back: the net's, and the scheduler's, which is our path.

What it has no words for stands under `_makar` in the net's config: diffusers reads no name that begins with an
underscore, and warns of any other that it does not know.
"""

from collections.abc import Mapping
from typing import Any

from makar.core.config import nearest, parse
from makar.core.errors import ModelError, RecipeError
from makar.families.diffusion.config import AnyPath, DdpmPath, DiffusionConfig, EdmPath, FlowPath, Prediction
from makar.nets.image_config import DiTConfig, UNetConfig
from makar.nets.mmdit_config import MMDiTConfig

VERSION = "0.35.0"
"""Of diffusers: the least whose words these are."""

UNKNOWN = f"save it again with diffusers {VERSION}, or take the field out where it changes nothing"
"""What to do about a field that is not known."""

NetConfig = UNetConfig | DiTConfig | MMDiTConfig

NETS: Mapping[str, type[NetConfig]] = {
    "UNet2DModel": UNetConfig,
    "DiTTransformer2DModel": DiTConfig,
    "SD3Transformer2DModel": MMDiTConfig,
}

PIPED_CLASSES = 1000
"""Classes of `DiTPipeline`; the label after them stands for none."""

PIPED_CODECS = ("AutoencoderKL", "VQModel")
"""Codecs that diffusers has."""

NO_PIPELINE = "LatentDiffusion"
"""What makar calls a folder of parts that diffusers opens one by one."""

OWN = ("kind", "num_classes", "null_class", "empty_tokens", "control")
"""Fields that diffusers says otherwise."""

PIPED_TOKENS = 256
"""Empty tokens that `StableDiffusion3Pipeline` puts behind a text where it has no T5."""

FIXED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "UNet2DModel": {
        "center_input_sample": (False,),
        "time_embedding_type": ("positional",),
        "time_embedding_dim": (None,),
        "mid_block_type": ("UNetMidBlock2D",),
        "mid_block_scale_factor": (1,),
        "downsample_type": ("conv",),
        "upsample_type": ("conv",),
        "act_fn": ("silu",),
        "attn_norm_num_groups": (None,),
        "class_embed_type": (None,),
    },
    "DiTTransformer2DModel": {
        "attention_bias": (True,),
        "activation_fn": ("gelu-approximate",),
        "norm_type": ("ada_norm_zero",),
        "norm_elementwise_affine": (False,),
        "dropout": (0.0,),
    },
    "SD3Transformer2DModel": {},
}
"""Fields of diffusers that our nets have one value of."""

UNREAD = ("num_train_timesteps", "norm_num_groups", "upcast_attention", "add_attention")
"""Fields that some nets of diffusers have and do not need."""

CONTROL_PIPELINES: Mapping[str, str] = {
    "edges": "StableDiffusion3ControlNetPipeline",
    "mask": "StableDiffusion3ControlNetInpaintingPipeline",
}
"""The pipelines of diffusers that take a net with what it is shown."""

SHARED = (
    "sample_size", "patch_size", "in_channels", "out_channels", "attention_head_dim", "num_attention_heads",
    "joint_attention_dim", "caption_projection_dim", "pooled_projection_dim", "pos_embed_max_size",
    "dual_attention_layers", "qk_norm",
)  # fmt: skip
"""Fields that a copy of a net's first blocks has from the net."""

PREDICTIONS: Mapping[str, Prediction] = {"epsilon": "noise", "sample": "data", "v_prediction": "velocity"}
"""What diffusers calls that which the net says."""


def net_to_ecosystem(config: DiffusionConfig, generation: Mapping[str, Any]) -> dict[str, Any]:
    """The net's config.json."""
    net = config.net
    name = next(name for name, kind in NETS.items() if isinstance(net, kind))
    plain = net.model_dump(mode="json", exclude=set(OWN))
    own = {**config.model_dump(mode="json", include={"path", "prediction", "classes"}), "generation": dict(generation)}
    if isinstance(net, MMDiTConfig):
        own["empty_tokens"] = net.empty_tokens
    else:
        labels = net.num_classes + net.null_class if net.num_classes else None
        plain |= (
            {"num_class_embeds": labels} if isinstance(net, UNetConfig) else {"num_embeds_ada_norm": net.num_classes}
        )
        own |= {"num_classes": net.num_classes, "null_class": net.null_class}
    fixed = {field: values[0] for field, values in FIXED[name].items()}
    return {"_class_name": name, "_diffusers_version": VERSION, **plain, **fixed, "_makar": own}


def control_to_ecosystem(net: MMDiTConfig) -> dict[str, Any]:
    """The config.json of the copy of a net's first blocks."""
    control, plain = net.control, net.model_dump(mode="json", include=set(SHARED))
    assert control is not None, "the caller asked"
    plain["dual_attention_layers"] = [layer for layer in net.dual_attention_layers if layer < control.num_layers]
    return {
        "_class_name": "SD3ControlNetModel",
        "_diffusers_version": VERSION,
        **plain,
        "num_layers": control.num_layers,
        "extra_conditioning_channels": net.control_channels - net.in_channels,
        "force_zeros_for_pooled_projection": control.force_zeros_for_pooled_projection,
        "_makar": {"shows": control.shows},
    }


def control_from_ecosystem(found: Mapping[str, Any], net: NetConfig, where: object) -> NetConfig:
    """A net's settings with those of the copy beside it, from the copy's config.json.

    Raises:
        ModelError: It is of another kind, or fits another net.
    """
    if not isinstance(net, MMDiTConfig) or found.get("_class_name") != "SD3ControlNetModel":
        value = found.get("_class_name")
        raise ModelError("makar's nets have no such control", where=where, value=value, fix="SD3ControlNetModel")
    if found.get("use_pos_embed") is False or found.get("joint_attention_dim") is None:
        raise ModelError("a control that reads no text is not built here", where=where, fix="take one that does")
    own, extra = found.get("_makar"), found.get("extra_conditioning_channels", 0)
    shows = own.get("shows") if isinstance(own, Mapping) else ("mask" if extra else "edges")
    zeros = found.get("force_zeros_for_pooled_projection", True)
    known = {"shows": shows, "num_layers": found.get("num_layers", 18), "force_zeros_for_pooled_projection": zeros}
    shape = net.model_dump() | {"control": known}
    control = parsed(MMDiTConfig, shape, where)
    other = next((field for field in SHARED if field in found and field != "dual_attention_layers"
                  and found[field] != getattr(control, field)), None)  # fmt: skip
    other = other or (
        None if extra == control.control_channels - control.in_channels else "extra_conditioning_channels"
    )
    if other is not None:
        fix = "take one that was made for this net"
        raise ModelError(f"this control fits another net by its {other}", where=where, value=found.get(other), fix=fix)
    return control


def net_from_ecosystem(found: Mapping[str, Any], where: object) -> NetConfig:
    """The net's settings from its config.json.

    Raises:
        ModelError: It asks for what our net lacks.
    """
    name = found["_class_name"]
    kind = NETS[name]
    for field, values in FIXED[name].items():
        if field in found and found[field] not in values:
            raise ModelError(
                f"makar's net has no such {field!r}", where=where, value=found[field], fix=f"{values[0]!r}"
            )
    known = {field: value for field, value in found.items() if field in kind.model_fields and value is not None}
    own = found.get("_makar", {})
    if kind is UNetConfig:
        labels = found.get("num_class_embeds") or 0
        known |= {"num_classes": own.get("num_classes", labels), "null_class": own.get("null_class", False)}
        known.setdefault("attention_head_dim", 8)
        known.setdefault("norm_num_groups", 32)
    elif kind is MMDiTConfig:
        known["empty_tokens"] = own.get("empty_tokens", PIPED_TOKENS)
    else:
        known["num_classes"] = own.get("num_classes", found.get("num_embeds_ada_norm") or 0)
    unknown = [
        field for field in found
        if not field.startswith("_") and field not in kind.model_fields and field not in FIXED[name]
        and field not in (*UNREAD, "num_class_embeds", "num_embeds_ada_norm")
    ]  # fmt: skip
    if unknown:
        raise ModelError("the config has a field that makar does not know", where=where, value=unknown[0], fix=UNKNOWN)
    return parsed(kind, known, where)


def parsed(kind: type[Any], found: Mapping[str, Any], where: object) -> Any:
    """Settings from another tool's file: what is wrong is a fault of the model's folder."""
    try:
        return parse(kind, found, where)
    except RecipeError as fault:
        raise ModelError(str(fault), fix="copy the whole folder again") from None


def scheduler_of(config: DiffusionConfig, *, latent: bool = False) -> dict[str, Any] | None:
    """The scheduler_config.json of the scheduler that samples as the path is, where diffusers has one.

    Args:
        config: Of the family.
        latent: Whether the net learned latents, which do not end at -1 and 1 as pictures do.
    """
    path, said = config.path, next(theirs for theirs, ours in PREDICTIONS.items() if ours == config.prediction)
    head = {"_diffusers_version": VERSION}
    match path:
        case DdpmPath():
            fields = path.model_dump(mode="json", exclude={"name"})
            return {
                "_class_name": "DDPMScheduler",
                **head,
                **fields,
                "prediction_type": said,
                "clip_sample": not latent,
            }
        case FlowPath():
            if config.prediction != "velocity":
                return None
            return {"_class_name": "FlowMatchEulerDiscreteScheduler", **head, "shift": path.shift}
        case EdmPath():
            if config.prediction != "velocity":
                return None
            fields = path.model_dump(mode="json", include={"sigma_min", "sigma_max", "sigma_data", "rho"})
            return {"_class_name": "EDMEulerScheduler", **head, **fields, "prediction_type": "epsilon"}


def path_of(found: Mapping[str, Any], where: object) -> tuple[AnyPath, Prediction]:
    """The path and the prediction from a scheduler's config.

    Raises:
        ModelError: It is one that we do not know.
    """
    name = found.get("_class_name", "DDPMScheduler")
    if name.startswith("FlowMatch"):
        return parsed(FlowPath, {"shift": found.get("shift", 1.0)}, where), "velocity"
    if name.startswith("EDM"):
        fields = {field: found[field] for field in ("sigma_min", "sigma_max", "sigma_data", "rho") if field in found}
        return parsed(EdmPath, fields, where), "velocity"
    for field in ("trained_betas", "rescale_betas_zero_snr"):
        if found.get(field):
            fix = "convert it with diffusers to a scheduler of plain betas"
            raise ModelError(f"makar knows no such {field!r}", where=where, value=found[field], fix=fix)
    fields = {field: found[field] for field in DdpmPath.model_fields if found.get(field) is not None}
    said = found.get("prediction_type", "epsilon")
    if said not in PREDICTIONS:
        raise ModelError("unknown prediction_type", where=where, value=said, fix=nearest(str(said), list(PREDICTIONS)))
    fields.pop("name", None)
    fields.setdefault("timestep_spacing", "leading")
    return parsed(DdpmPath, fields, where), PREDICTIONS[said]


def pipeline_of(config: DiffusionConfig) -> str | None:
    """The pipeline of diffusers that makes the model's pictures, if there is one: the table is in docs/diffusion.md."""
    plain = isinstance(config.net, UNetConfig) and not config.net.num_classes
    scheduled = scheduler_of(config) is not None and not isinstance(config.path, EdmPath)
    return "DDPMPipeline" if plain and scheduled else None


def latent_pipeline_of(config: DiffusionConfig, vae: Mapping[str, Any]) -> str | None:
    """The pipeline of diffusers that makes a latent model's pictures, if there is one.

    `DiTPipeline` asks its scheduler to scale the net's input, which the one of flows cannot; it knows no shift of
    latents, and no more classes than ImageNet has.

    Args:
        config: Of the family.
        vae: The codec's config.json.
    """
    fits = isinstance(config.net, DiTConfig) and isinstance(config.path, DdpmPath)
    known = vae.get("_class_name") in PIPED_CODECS and not vae.get("shift_factor")
    return "DiTPipeline" if fits and known and config.net.num_classes <= PIPED_CLASSES else None


def text_pipeline_of(config: DiffusionConfig, vae: Mapping[str, Any]) -> str | None:
    """The pipeline of diffusers that makes the pictures of a latent model that reads, if there is one.

    Args:
        config: Of the family.
        vae: The codec's config.json.
    """
    fits = isinstance(config.path, FlowPath) and config.prediction == "velocity"
    empty = config.net.empty_tokens if isinstance(config.net, MMDiTConfig) else None
    piped = fits and empty == PIPED_TOKENS and vae.get("_class_name") == "AutoencoderKL"
    control = config.net.control if isinstance(config.net, MMDiTConfig) else None
    name = CONTROL_PIPELINES[control.shows] if control else "StableDiffusion3Pipeline"
    return name if piped else None


def config_from(net: Mapping[str, Any], scheduler: Mapping[str, Any], where: object) -> DiffusionConfig:
    """The family's config from the net's and the scheduler's."""
    own = net.get("_makar")
    if own is not None and not isinstance(own, Mapping):
        raise ModelError("what makar wrote there is damaged", where=where, value=own, fix="copy the whole folder again")
    shape = net_from_ecosystem(net, where)
    if own is not None:
        said = {name: own[name] for name in ("path", "prediction", "classes") if name in own}
        return parsed(DiffusionConfig, {"net": shape, **said}, where)
    path, prediction = path_of(scheduler, where)
    return DiffusionConfig(net=shape, path=path, prediction=prediction)

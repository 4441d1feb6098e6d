"""open_clip's towers, losses and tokenizer in a process of their own, for torchvision, which it imports, is not there.

    python open_clip_oracle.py IN OUT

IN holds a model's tensors by transformers' names, its shape, pictures and tokens; OUT features, logits and losses.
"""

import json
import sys
import types
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

BLOCK = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj",
         "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}  # fmt: skip
REST = {"vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "vision_model.pre_layrnorm": "visual.ln_pre", "vision_model.post_layernorm": "visual.ln_post",
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm": "ln_final", "logit_scale": "logit_scale"}  # fmt: skip


def bare(name, **holds):
    """A module that is there and holds what little is asked of it."""
    module = types.ModuleType(name)
    module.__dict__.update(holds)
    sys.modules[name] = module
    return module


def renamed(weights):
    """The tensors by open_clip's names."""
    found = {
        "visual.proj": weights["visual_projection.weight"].T,
        "text_projection": weights["text_projection.weight"].T,
    }
    for tower, there in (("vision_model", "visual.transformer"), ("text_model", "transformer")):
        for name in [name for name in weights if name.startswith(f"{tower}.encoder.layers.")]:
            number, layer, kind = name.removeprefix(f"{tower}.encoder.layers.").partition(".")[0], *split(name)
            if layer in BLOCK:
                found[f"{there}.resblocks.{number}.{BLOCK[layer]}.{kind}"] = weights[name]
            elif layer == "self_attn.q_proj":
                parts = [weights[name.replace("q_proj", f"{each}_proj")] for each in "qkv"]
                found[f"{there}.resblocks.{number}.attn.in_proj_{kind}"] = torch.cat(parts)
    for name, other in REST.items():
        found |= {key.replace(name, other): tensor for key, tensor in weights.items() if key.startswith(name)}
    return {name: tensor.contiguous() for name, tensor in found.items()}


def split(name):
    """The layer and whether it is a weight, of a tensor of a block."""
    inside = name.split(".layers.")[1].partition(".")[2]
    return inside.rpartition(".")[0], inside.rpartition(".")[2]


def main(given: Path, out: Path) -> None:
    bare("torchvision")
    bare("torchvision.ops")
    bare("torchvision.ops.misc", FrozenBatchNorm2d=torch.nn.BatchNorm2d)
    bare("ftfy", fix_text=lambda text: text)
    sys.modules["transformers"] = None  # its towers of other kinds are not wanted
    place = Path(next(p for p in sys.path if (Path(p) / "open_clip").is_dir())) / "open_clip"
    bare("open_clip").__path__ = [str(place)]  # without the imports of everything that the package's own file has
    from open_clip.loss import ClipLoss, SigLipLoss
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from open_clip.tokenizer import SimpleTokenizer

    tensors = load_file(given)
    with safe_open(given, "pt") as file:
        shape = json.loads(file.metadata()["shape"])
    images, tokens = tensors.pop("images"), tensors.pop("tokens")
    vision = CLIPVisionCfg(**shape["vision"])
    text = CLIPTextCfg(**shape["text"], pool_type="eos", eos_id=shape["eos"])
    model = CLIP(shape["width"], vision, text, quick_gelu=shape["quick_gelu"]).eval()
    model.load_state_dict(renamed(tensors), strict=False)
    missing = set(model.state_dict()) - set(renamed(tensors)) - {"attn_mask"}
    assert not missing, missing
    with torch.no_grad():
        seen, read = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)
        scale, bias = model.logit_scale.exp(), torch.tensor(-2.0)
        losses = {"softmax": ClipLoss()(seen, read, scale), "sigmoid": SigLipLoss()(seen, read, scale, bias)}
    tokenizer = SimpleTokenizer(context_length=24)
    ids = tokenizer(shape["captions"])
    save_file({"seen": seen, "read": read, "logits": scale * seen @ read.T, "ids": ids, **losses}, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""A language model on disk: the ecosystem's own folder, which `transformers` opens as it stands.

config.json, generation_config.json, model.safetensors in float32 (read also in shards, bfloat16 and float16), and the
tokenizer's files. Nothing is ever unpickled.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from makar.codecs.bpe import Bpe
from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.core.tensors import check_shapes, save_tensors
from makar.families.language.config import LanguageConfig
from makar.families.language.ecosystem import ARCHITECTURES, from_ecosystem, to_ecosystem
from makar.families.weights import read_sharded
from makar.nets.config import DecoderConfig
from makar.nets.decoder import Decoder

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"

GENERATION: Mapping[str, str] = {
    "max_tokens": "max_new_tokens",
    "repetition_penalty": "repetition_penalty",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
}
"""Our settings of generation that generation_config.json knows, and its names for them."""


def save(model: Model[Decoder], folder: Path) -> None:
    """Write a model into an existing empty folder."""
    save_parts(model, folder)
    write_json(folder / "config.json", to_ecosystem(model.net.config) | special_ids(model))
    save_tensors(folder / "model.safetensors", {name: t.float() for name, t in model.net.state_dict().items()})


def save_parts(model: Model[Any], folder: Path) -> None:
    """Write the tokenizer and the defaults of generation."""
    if (codec := model.parts.get("codec")) is not None:
        codec.save(folder)
    write_json(folder / "generation_config.json", to_generation_config(model.generation) | special_ids(model))


def special_ids(model: Model[Any]) -> dict[str, int | list[int] | None]:
    """The tokens that the ecosystem's configs name."""
    codec: Bpe | None = model.parts.get("codec")
    if codec is None:
        return dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    ends = list(codec.ends) if len(codec.ends) > 1 else codec.end_id
    return {"bos_token_id": codec.opener[0], "eos_token_id": ends, "pad_token_id": codec.pad_id}


def recognises(folder: Path) -> bool:
    """Whether config.json names a kind of model of this family."""
    try:
        return read_object(folder / "config.json").get("model_type") in tuple(ARCHITECTURES)
    except ModelError:
        return False


def read(folder: Path) -> tuple[LanguageConfig, Decoder, dict[str, Any], dict[str, Any]]:
    """Read a model's config, net, parts and generation defaults.

    Raises:
        ModelError: A file is missing, damaged or does not fit the others, or the model is of another kind.
    """
    found = read_object(folder / "config.json")
    if any(str(name).endswith("ForSequenceClassification") for name in found.get("architectures") or []):
        raise ModelError(
            "this is a reward model: it judges answers and writes none",
            where=folder,
            fix="let it judge, [reward] model = {path = 'its folder or @run'}, and open the model that it taught",
        )
    config = from_ecosystem(found, folder / "config.json")
    return config, read_net(config, folder), *read_parts(folder, config)


def read_parts(folder: Path, config: DecoderConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the tokenizer and the defaults of generation, as far as they are there.

    Raises:
        ModelError: They are damaged, or there are more tokens than the config has.
    """
    parts: dict[str, Any] = {}
    config_file, generation_file = folder / "config.json", folder / "generation_config.json"
    generation = read_object(generation_file) if generation_file.exists() else {}
    if (folder / "tokenizer.json").exists():
        codec = Bpe.load(folder)
        if codec.vocab_size > config.vocab_size:
            raise ModelError(
                "the tokenizer has more tokens than the model",
                where=folder,
                value=f"{codec.vocab_size} and {config.vocab_size}",
                fix="copy both from the same model",
            )
        said = generation if "eos_token_id" in generation or not config_file.exists() else read_object(config_file)
        parts["codec"] = codec.speaking(end_ids(said.get("eos_token_id")))
    return parts, from_generation_config(generation)


def end_ids(found: Any) -> list[int]:
    """The tokens that end an answer, as the ecosystem's files say: one id, a list of them, or none."""
    return [token for token in (found if isinstance(found, list) else [found]) if isinstance(token, int)]


def read_net(config: LanguageConfig, folder: Path) -> Decoder:
    """The net with the folder's weights, in float32; nothing is allocated before the shapes are known to fit."""
    where, weights = read_sharded(folder)
    layers = {int(found[1]) for name in weights if (found := re.match(r"model\.layers\.(\d+)\.", name))}
    if len(layers) != config.num_hidden_layers:
        raise ModelError(
            "config.json and the weights disagree about the number of layers",
            where=where,
            value=f"{config.num_hidden_layers} and {len(layers)}",
            fix="copy the whole folder again",
        )
    tied = config.tie_word_embeddings and EMBEDDING in weights and HEAD in weights
    if tied and not torch.equal(weights.pop(HEAD), weights[EMBEDDING]):
        raise ModelError(
            f"{HEAD!r} is not the embedding although config.json ties them",
            where=where,
            fix="set tie_word_embeddings to false in config.json",
        )
    with torch.device("meta"):
        net = Decoder(config)
    check_shapes(where, weights, {name: tensor.shape for name, tensor in net.state_dict().items()})
    net.load_state_dict(weights, assign=True)
    return net


def to_generation_config(generation: Mapping[str, Any]) -> dict[str, Any]:
    """Our defaults of generation in the ecosystem's words: temperature 0 is `do_sample` false.

    What it has no word for stands under `makar`, which it keeps and does not read.
    """
    known = {theirs: generation[ours] for ours, theirs in GENERATION.items() if generation.get(ours) is not None}
    own = {ours: value for ours, value in generation.items() if ours not in GENERATION and value is not None}
    if known.get("temperature") == 0:
        known = {name: known[name] for name in ("max_new_tokens", "repetition_penalty") if name in known}
        known["do_sample"] = False
    elif known:
        known["do_sample"] = True
    return known | ({"makar": own} if own else {})


def from_generation_config(found: Mapping[str, Any]) -> dict[str, Any]:
    """The ecosystem's defaults of generation in our words; what it does not say stays our own default."""
    known = {ours: found[theirs] for ours, theirs in GENERATION.items() if found.get(theirs) is not None}
    own = found.get("makar")
    greedy = {"temperature": 0.0} if found.get("do_sample") is False else {}
    return known | (own if isinstance(own, dict) else {}) | greedy

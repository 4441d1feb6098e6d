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
from makar.codecs.chat import spelled
from makar.core.errors import ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Model
from makar.core.tensors import check_shapes, save_tensors, tensor_metadata
from makar.families.language.config import LanguageConfig
from makar.families.language.ecosystem import ARCHITECTURES, from_ecosystem, to_ecosystem
from makar.families.weights import read_sharded
from makar.nets.config import DecoderConfig
from makar.nets.decoder import Decoder

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"

TOKENIZER = "tokenizer_sha256"
"""In the metadata of weights: the hash of their tokenizer."""

UNSAID = {"bos_token": {1}, "eos_token": {2}, "pad_token": set[int]()}
"""The roles of special tokens, and what transformers writes of them where the maker of a Llama named none."""

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
    tensors = {name: t.float() for name, t in model.net.state_dict().items()}
    save_tensors(folder / "model.safetensors", tensors, tokenizer_mark(model))


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


def tokenizer_mark(model: Model[Any]) -> dict[str, str]:
    """What weights keep of the tokenizer that they were made with, in the metadata of their file."""
    codec: Bpe | None = model.parts.get("codec")
    return {} if codec is None else {TOKENIZER: codec.hash}


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
        ModelError: They are damaged, or the tokenizer is not the model's.
    """
    parts: dict[str, Any] = {}
    config_file, generation_file = folder / "config.json", folder / "generation_config.json"
    generation = read_object(generation_file) if generation_file.exists() else {}
    if (folder / "tokenizer.json").exists():
        codec, found = Bpe.load(folder), read_object(config_file) if config_file.exists() else {}
        if codec.vocab_size > config.vocab_size:
            raise ModelError(
                "the tokenizer has more tokens than the model",
                where=folder,
                value=f"{codec.vocab_size} and {config.vocab_size}",
                fix="copy both from the same model",
            )
        check_tokenizer(folder, codec, found, generation)
        said = generation if "eos_token_id" in generation else found
        parts["codec"] = codec.speaking(end_ids(said.get("eos_token_id")))
    return parts, from_generation_config(generation)


def check_tokenizer(folder: Path, codec: Bpe, *configs: Mapping[str, Any]) -> None:
    """Refuse a tokenizer that is clearly another model's.

    By the hash that weights of makar's keep; and by the ids that configs name, if what begins or ends a text is an
    ordinary token of the tokenizer's, or if it agrees in none of several roles: one that differs is often harmless.

    Raises:
        ModelError: Says what differs.
    """
    weights = folder / "model.safetensors"
    mark = tensor_metadata(weights).get(TOKENIZER) if weights.exists() else None
    if mark is not None and mark != codec.hash:
        what, fix = "the tokenizer is not the one of these weights", "copy tokenizer.json from the same model"
        raise ModelError(what, where=folder, value=f"{codec.hash[:12]} and {mark[:12]}", fix=fix)
    special = codec.special
    found = {role: {i for each in configs for i in end_ids(each.get(f"{role}_id")) if i >= 0} for role in UNSAID}
    said = {role: ids for role, ids in found.items() if ids and ids != UNSAID[role]}
    named = {role: special.get(spelled(codec.settings.get(role)) or "") for role in said}
    both = [role for role in said if named[role] is not None]
    ordinary = [role for role in said if role != "pad_token" and said[role].isdisjoint(special.values())]
    if ordinary or (len(both) > 1 and not any(named[role] in said[role] for role in both)):
        role = (ordinary or both)[0]
        raise ModelError(
            f"config.json and the tokenizer do not name the same {role}",
            where=folder,
            value=f"{sorted(said[role])} and {named[role]}",
            fix=f"copy both from the same model, or mend {role}_id in config.json and generation_config.json",
        )


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

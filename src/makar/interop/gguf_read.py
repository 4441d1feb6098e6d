"""A GGUF file to a model: every tensor unpacked to float32 under the name that it has in `transformers`."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from makar.core.errors import ModelError
from makar.core.nouns import Model
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.interop.gguf_file import Gguf, open_gguf
from makar.interop.gguf_layout import ROPE_FACTORS, config_of, gguf_name, to_halves, turned
from makar.interop.gguf_tokens import read_tokenizer
from makar.nets.decoder import Decoder


def read_gguf(file: Path | Gguf) -> Model[Decoder]:
    """Read a model with its tokenizer; nothing is unpacked before all is known to fit.

    Args:
        file: A GGUF file of the architecture llama, qwen2 or qwen3, open or not.

    Raises:
        ModelError: It is damaged, of another kind, or packed in a way unknown here.
    """
    file = open_gguf(file) if isinstance(file, Path) else file
    config = config_of(file)
    codec = read_tokenizer(file)
    if codec.vocab_size > config.vocab_size:
        raise file.fault("the tokenizer has more tokens than the model", f"{codec.vocab_size} and {config.vocab_size}")
    with torch.device("meta"):
        net = Decoder(config)
    weights = read_weights(file, config, {name: tensor.shape for name, tensor in net.state_dict().items()})
    net.load_state_dict(weights, assign=True)
    return Model(FAMILY, config, net, {"codec": codec})


def read_weights(file: Gguf, config: LanguageConfig, wanted: dict[str, torch.Size]) -> dict[str, Tensor]:
    """The decoder's parameters, each unpacked by one of as many threads as torch computes with.

    Raises:
        ModelError: Names the first missing, unknown or wrongly shaped tensor.
    """
    names = {name: gguf_name(name) for name in wanted}
    for name, theirs in names.items():
        if theirs not in file.tensors:
            raise file.fault(f"tensor {theirs!r} is missing")
        if file.tensors[theirs].shape != wanted[name]:
            raise file.fault(
                f"tensor {theirs!r} has another shape than the metadata asks for",
                file.tensors[theirs].shape,
                f"the metadata wants {tuple(wanted[name])}",
            )
    unknown = sorted(set(file.tensors) - set(names.values()) - {ROPE_FACTORS})
    if unknown:
        raise ModelError(
            f"{len(unknown)} tensor(s) that makar's decoder does not have",
            where=file.path,
            value=unknown[0],
            fix="another kind of model bears this architecture's name",
        )

    def unpack(name: str) -> Tensor:
        heads = turned(name, config)
        tensor = file.tensor(names[name])
        return to_halves(tensor, heads) if heads else tensor

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return dict(zip(names, pool.map(unpack, names), strict=True))

"""A model to one GGUF file that llama.cpp runs: weights, tokenizer and chat template inside."""

from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray
from torch import Tensor

from makar.codecs.bpe import Bpe
from makar.core.errors import ModelError
from makar.core.files import file_atomic
from makar.core.nouns import Model
from makar.families.language.ecosystem import kind_of
from makar.interop.gguf_layout import ROPE_FACTORS, factors_of, gguf_name, metadata_of, to_pairs, turned
from makar.interop.gguf_tokens import write_tokenizer
from makar.interop.origin import UNDECLARED, Origin
from makar.nets.decoder import Decoder

Kind = GGMLQuantizationType
Precision = Literal["f32", "f16", "q8_0", "q4_0"]

PRECISIONS: dict[Precision, tuple[Kind, Kind, LlamaFileType]] = {
    "f32": (Kind.F32, Kind.F32, LlamaFileType.ALL_F32),
    "f16": (Kind.F16, Kind.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (Kind.Q8_0, Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (Kind.Q4_0, Kind.Q8_0, LlamaFileType.MOSTLY_Q4_0),
}
"""How matrices are packed; how the embedding and the head are, which suffer most; what the file calls it."""


def write_gguf(model: Model[Decoder], path: Path, precision: Precision = "f32", origin: Origin | None = None) -> None:
    """Write a model; the file is whole or absent.

    Args:
        model: A language model with its tokenizer.
        path: The file to write.
        precision: "f32", "f16", "q8_0" or "q4_0". Norms and biases stay in float32, as everywhere.
        origin: Whose title and licence the file is to say.

    Raises:
        ModelError: llama.cpp would compute, or split text, in another way.
    """
    config, codec = model.net.config, model.parts.get("codec")
    if not isinstance(codec, Bpe):
        raise ModelError("the model has no tokenizer", fix="put a tokenizer.json into its folder")
    kind = kind_of(config)
    words = {f"{kind}.{key}": value for key, value in metadata_of(config).items()}
    words |= write_tokenizer(codec, config.vocab_size) | stated(origin)
    tensors = {gguf_name(name): (name, tensor) for name, tensor in model.net.state_dict().items()}
    with file_atomic(path) as beside:
        writer = GGUFWriter(beside, kind)
        try:
            writer.add_file_type(PRECISIONS[precision][2])
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
            for key, value in words.items():
                add(writer, key, value)
            if config.rope_scaling is not None:
                writer.add_tensor(ROPE_FACTORS, factors_of(config).numpy())
            for theirs, (ours, tensor) in tensors.items():
                heads = turned(ours, config)
                plain = tensor.detach().float().cpu()
                data, packing = pack(theirs, to_pairs(plain, heads) if heads else plain, precision)
                writer.add_tensor(theirs, data, raw_dtype=packing)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def stated(origin: Origin | None) -> dict[str, str]:
    """What a file says of where its model comes from, as far as that is known."""
    if origin is None:
        return {}
    said = {"general.name": origin.title, "general.license": origin.licence.replace(UNDECLARED, "")}
    return {key: value for key, value in said.items() if value}


def add(writer: GGUFWriter, key: str, value: Any) -> None:
    """One value of the metadata, by its type."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value:
        writer.add_array(key, value)


def pack(name: str, tensor: Tensor, precision: Precision) -> tuple[NDArray[Any], Kind]:
    """A tensor as it is stored. Rows that are no multiple of a block's 32 numbers fall back to half precision.

    Raises:
        ModelError: A weight is beyond what half precision holds.
    """
    plain = tensor.numpy()
    matrices, ends, _ = PRECISIONS[precision]
    kind = ends if name in ("token_embd.weight", "output.weight") else matrices
    if tensor.ndim == 1:
        kind = Kind.F32
    elif tensor.shape[-1] % gguf.GGML_QUANT_SIZES[kind][0]:
        kind = Kind.F16
    if kind != Kind.F32 and float(tensor.abs().max()) > torch.finfo(torch.float16).max:
        raise ModelError(f"weights of {name!r} are beyond half precision", fix="export it as f32")
    if kind == Kind.F16:
        return plain.astype(np.float16), kind
    return (plain, kind) if kind == Kind.F32 else (gguf.quants.quantize(plain, kind), kind)

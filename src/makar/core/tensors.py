"""Tensor files: safetensors, checked before a byte is believed."""

import hashlib
import json
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from makar.core.errors import ModelError
from makar.core.files import mending, sync


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors and force them to the disk. Only what shares or strides memory is copied for it."""
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    seen: set[int] = set()
    for name, tensor in plain.items():
        storage = tensor.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
            plain[name] = tensor.clone()
        seen.add(storage.data_ptr())
    with mending(path):
        try:
            save_file(plain, path, metadata={"format": "pt", **(metadata or {})})
            if metadata:
                order_metadata(path)
        except SafetensorError as fault:
            if isinstance(fault.__cause__, OSError):
                raise fault.__cause__ from None
            if "os error 28" in str(fault):
                raise OSError(28, str(fault)) from None
            if "os error 13" in str(fault):
                raise OSError(13, str(fault)) from None
            raise
        sync(path)


def order_metadata(path: Path) -> None:
    """Put a new file's metadata in order: the library's own differs each time, and equal models are equal files."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(size)
        assert len(ordered) == size, "the library writes JSON as Python does"
        file.seek(8)
        file.write(ordered)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a file.

    Raises:
        ModelError: The file is missing, truncated, padded or not safetensors.
    """
    with opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def tensor_metadata(path: Path) -> dict[str, str]:
    """The metadata of a tensor file, without reading tensors.

    Raises:
        ModelError: The file is missing, truncated, padded or not safetensors.
    """
    with opened(path) as file:
        return file.metadata() or {}


@contextmanager
def opened(path: Path) -> Generator[safe_open]:
    """A tensor file; what is wrong with it is said."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise ModelError("tensor file is missing", where=path, fix="copy the whole folder again") from None
    except SafetensorError as fault:
        raise ModelError(f"tensor file is damaged: {fault}", where=path, fix="copy or download it again") from None


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors with their names, types and shapes; equal for equal ones, however they lie in files."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_shapes(
    path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, torch.Size], optional: Iterable[str] = ()
) -> None:
    """Refuse a set of tensors that is not exactly what the config asks for.

    Raises:
        ModelError: Names the first missing, unknown or wrongly shaped tensor.
    """
    missing = sorted(set(wanted) - set(found) - set(optional))
    if missing:
        raise ModelError(
            f"{len(missing)} tensor(s) missing, first {missing[0]!r}", where=path, fix="copy the whole folder again"
        )
    unknown = sorted(set(found) - set(wanted) - set(optional))
    if unknown:
        raise ModelError(
            f"{len(unknown)} tensor(s) that the config does not know, first {unknown[0]!r}",
            where=path,
            fix="check that config.json belongs to these weights",
        )
    for name, size in wanted.items():
        if name in found and found[name].shape != size:
            raise ModelError(
                f"tensor {name!r} has another shape than the config asks for",
                where=path,
                value=tuple(found[name].shape),
                fix=f"the config wants {tuple(size)}",
            )

"""Models from elsewhere to model folders, and model folders to what other tools take."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from makar.core.errors import InputError, ModelError
from makar.core.files import file_atomic, folder_atomic, sha256, write_atomic
from makar.core.nouns import Model
from makar.core.say import Say, silent
from makar.engine.adapters import base_of, is_adapter, load_adapter, merged, save_adapter
from makar.engine.load import open_model
from makar.families.diffusion.inversion import read_word, taught
from makar.families.diffusion.piped import no_pipeline
from makar.families.language.family import FAMILY
from makar.interop.gguf_file import open_gguf
from makar.interop.gguf_read import read_gguf
from makar.interop.gguf_write import Precision, write_gguf
from makar.interop.known import find_model
from makar.interop.lora_files import (
    check_paints,
    lora_file,
    read_factors,
    with_factors,
    write_diffusers,
    write_kohya,
)
from makar.interop.onnx import write_onnx
from makar.interop.origin import CARD, UNDECLARED, Origin, card, fresh, keep, origin_of

Format = Literal["transformers", "gguf", "peft", "diffusers", "kohya", "onnx"]


def import_model(name: str | Path, out: Path, *, base: str | Path | None = None, say: Say = silent) -> Path:
    """Make a model folder of makar's own from what another tool made.

    Args:
        name: A GGUF file, a folder of `transformers`, diffusers or PEFT, any name that `find_model` knows; or what was
            made for a diffusion model: an adapter as a file in diffusers' layout or in kohya's, a learned word.
        out: The folder to make.
        base: The model under an adapter that does not itself say where it is.
        say: Takes a line with the licence and the hash.

    Returns:
        The folder.

    Raises:
        UserError: It cannot be had or read, or there is something at `out`.
    """
    fresh(out)
    path = Path(name)
    if (file := lora_file(path)) is not None:
        return import_addition(file, out, base, say)
    if path.is_file():
        opened = open_gguf(path)
        licence, title = (str(opened.metadata.get(f"general.{key}", "")) for key in ("license", "name"))
        origin = Origin(str(name), sha256(path), licence or UNDECLARED, title)
        say(origin.line())
        keep(read_gguf(opened), out, origin)
        return out
    folder = find_model(name, say)
    origin = origin_of(folder, str(name))
    if is_adapter(folder):
        below = find_model(base, say) if base is not None else base_of(folder)
        model = load_adapter(merged(open_model(below)), folder)
        with folder_atomic(out) as beside:
            save_adapter(model, beside, below)
    elif base is not None:
        raise InputError("this is a whole model, which has no base", where=folder, fix="leave out --base")
    else:
        keep(open_model(folder), out, origin)
    say(origin.line())
    return out


def import_addition(file: Path, out: Path, base: str | Path | None, say: Say) -> Path:
    """Make an adapter's folder of a file of diffusers' or of kohya's, or a whole model that knows the word in it.

    Raises:
        UserError: No base is named, or what is in the file is of another one.
    """
    if base is None:
        raise InputError("such a file does not say which model it changes", where=file, fix="name it: --base MODEL")
    below = find_model(base, say)
    model = merged(open_model(below))
    check_paints(model, below)
    if (found := read_word(file)) is not None:
        keep(taught(model, *found), out, Origin(str(file), sha256(file)))
        return out
    model = with_factors(model, read_factors(file, model.net))
    with folder_atomic(out) as beside:
        save_adapter(model, beside, below)
    say(Origin(str(file), sha256(file)).line())
    return out


def export_model(
    name: str | Path, to: Format, out: Path, *, precision: Precision | None = None, say: Say = silent
) -> Path:
    """Write a model as another tool takes it; adapters are merged into it, but for the layouts of adapters.

    Args:
        name: Any name that `find_model` knows.
        to: "transformers" (a folder; of a diffusion model, diffusers'), "gguf" (a file), "onnx" (a folder); of an
            adapter "peft" (a folder), and of a diffusion model's "diffusers" (a folder) or "kohya" (a file).
        out: The file or folder to make.
        precision: Of a GGUF file; "f16" if not said.
        say: Takes a line on what is fetched, and on why no pipeline opens what was made.

    Returns:
        What was made.

    Raises:
        UserError: The model cannot be had or written so, or there is something at `out`.
    """
    if precision is not None and to != "gguf":
        raise InputError("only GGUF files have a precision to choose", value=to, fix="leave out --precision")
    fresh(out)
    folder = find_model(name, say)
    if to in ("gguf", "onnx") and not FAMILY.folder.recognises(folder) and not is_adapter(folder):
        raise ModelError("only language models can be written so", where=folder, value=to, fix="transformers takes all")
    if to in ("peft", "diffusers", "kohya"):
        if not is_adapter(folder):
            raise ModelError("this is a whole model, not an adapter", where=folder, fix="export it to transformers")
        export_adapter(folder, to, out)
    elif to == "gguf":
        write_gguf(merged(open_model(folder)), out, precision or "f16", licensed(folder, str(name)))
    else:
        model = merged(open_model(folder))
        with folder_atomic(out) as beside:
            WRITERS[to](model, beside)
            if is_adapter(folder) or not take_card(folder, beside):
                write_atomic(beside / CARD, card(model, licensed(folder, str(name))))
        if why := no_pipeline(model):
            say(why)
    return out


def export_adapter(folder: Path, to: str, out: Path) -> None:
    """Write an adapter without its base.

    Raises:
        UserError: It cannot be written so.
    """
    model = open_model(folder)
    if to == "peft":
        with folder_atomic(out) as beside:
            save_adapter(model, beside, base_of(folder))
            take_card(folder, beside)
        return
    check_paints(model, folder)
    if to == "diffusers":
        with folder_atomic(out) as beside:
            write_diffusers(model, beside)
    else:
        with file_atomic(out) as beside:
            write_kohya(model, beside)


def licensed(folder: Path, name: str) -> Origin:
    """Where a model comes from; an adapter that declares no licence stands under its base's."""
    own = origin_of(folder, name)
    if own.licence != UNDECLARED or not is_adapter(folder):
        return own
    return replace(own, licence=licensed(base_of(folder), name).licence)


def take_card(folder: Path, out: Path) -> bool:
    """Copy a model's card beside what is made of it, if it has one; whether it has."""
    if found := (folder / CARD).is_file():
        write_atomic(out / CARD, (folder / CARD).read_bytes())
    return found


def write_transformers(model: Model[Any], folder: Path) -> None:
    """Write the ecosystem's own folder."""
    model.family.folder.save(model, folder)


WRITERS: dict[str, Callable[[Model[Any], Path], None]] = {"transformers": write_transformers, "onnx": write_onnx}
"""How a model is written into a folder."""

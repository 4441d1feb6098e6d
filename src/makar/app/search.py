"""Pictures of a dataset that fit a text or another picture, and where all of them lie in a CLIP's space."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from makar.core.errors import InputError, ModelError
from makar.core.files import file_atomic
from makar.core.say import Say

if TYPE_CHECKING:
    from torch import Tensor

    from makar.core.nouns import Model
    from makar.data.dataset import Dataset

AT_ONCE = 256
"""Pictures that are decoded and embedded together."""

MODEL = b"makar.model"
"""In the metadata of a file of embeddings: the SHA-256 of the weights that made them."""


@dataclass(frozen=True)
class Found:
    """A picture that was looked for.

    Args:
        likeness: The cosine of what was asked and the picture, in -1 to 1.
        id: The picture's, in its dataset.
        text: What is said of it, if anything.
        split: Where it lies.
    """

    likeness: float
    id: str
    text: str | None
    split: str


@dataclass(frozen=True)
class Embedded:
    """The pictures of a dataset in the space of a model.

    Args:
        ids: Of each picture.
        texts: What is said of each, if anything.
        splits: Where each lies.
        vectors: Of length 1, `[pictures, dims]`.
        left_out: Pictures that could not be decoded.
    """

    ids: list[str]
    texts: list[str | None]
    splits: list[str]
    vectors: "Tensor"
    left_out: int = 0


def search(
    model: "Model[Any]",
    place: Path,
    text: str | None,
    image: Path | None,
    *,
    count: int,
    out: Path | None,
    say: Say,
) -> list[Found]:
    """Find the pictures that fit best; see `api.search`."""
    import torch

    from makar.app.pictures import opened
    from makar.families.clip.sample import image_vectors, text_vectors

    if model.family.name != "clip":
        raise ModelError("this model finds no pictures", value=model.family.name, fix="name a CLIP: scenes-clip")
    if text is not None and not text.strip():
        raise InputError("an empty text fits every picture", where="makar search", fix="say what is looked for")
    if (text is None) == (image is None) and not (out is not None and text is None):
        raise InputError("look for a text or for a picture", where="makar search", fix="give a text, or --image FILE")
    if out is not None and out.suffix != ".parquet":
        raise InputError("embeddings are written as Parquet", where="--out", value=out.name, fix="name it FILE.parquet")
    model.net.eval()
    asked = text_vectors(model, [text]) if text is not None else None
    if image is not None:
        asked = image_vectors(model, [opened(image)])
    there = read_embeddings(model, place) if place.suffix == ".parquet" else embedded(model, open_dataset(place), say)
    if there.left_out:
        say(f"{there.left_out:,} pictures could not be decoded")
    if out is not None:
        write_embeddings(model, there, out)
        say(f"{len(there.ids):,} embeddings are in {out}")
    if asked is None:
        return []
    likeness = (asked.cpu() @ there.vectors.T)[0]
    best = torch.topk(likeness, min(count, len(likeness)))
    rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [Found(near, there.ids[row], there.texts[row], there.splits[row]) for near, row in rows]


def open_dataset(place: Path) -> "Dataset":
    """A dataset of pictures.

    Raises:
        InputError: It is none.
    """
    from makar.data.dataset import Dataset

    dataset = Dataset.open(place)
    if dataset.manifest.kind != "image":
        fix = "name a dataset of pictures"
        raise InputError("a dataset without pictures", where=place, value=dataset.manifest.kind, fix=fix)
    return dataset


def embedded(model: "Model[Any]", dataset: "Dataset", say: Say) -> Embedded:
    """All pictures of a dataset in the space of a model, as those that it was trained on were brought to its size."""
    import torch

    from makar.data.store import SPLITS
    from makar.families.clip.sample import image_vectors

    ids, texts, splits, vectors = list[str](), list[str | None](), list[str](), list[torch.Tensor]()
    waiting, left_out = list[Any](), 0
    say("looking at the pictures")
    for split in SPLITS:
        for name, text, picture in decoded(model, dataset, split):
            if picture is None:
                left_out += 1
                continue
            ids.append(name)
            texts.append(text)
            splits.append(split)
            waiting.append(picture)
            if len(waiting) == AT_ONCE:
                vectors.append(image_vectors(model, waiting).cpu())
                waiting = []
    if waiting:
        vectors.append(image_vectors(model, waiting).cpu())
    if not vectors:
        raise InputError("no picture can be decoded", where=dataset.path, fix="name another dataset")
    return Embedded(ids, texts, splits, torch.cat(vectors), left_out)


def decoded(model: "Model[Any]", dataset: "Dataset", split: str) -> Iterator[tuple[str, str | None, Any]]:
    """The id, the text and the picture of each row, brought to the model's size; one that is too small as it is."""
    from makar.data.document import Fault
    from makar.data.pictures import decode

    side: int = model.config.vision.image_size  # pyright: ignore[reportAttributeAccessIssue]: of a CLIP
    ways = [dataset.manifest.options.pictures.model_copy(update={"size": size}) for size in (side, None)]
    for picture in dataset.pictures(split):
        still = decode(picture.image, picture.id, ways[0])
        if isinstance(still, Fault):
            still = decode(picture.image, picture.id, ways[1])
        yield picture.id, picture.text, None if isinstance(still, Fault) else still.image


def weights_of(model: "Model[Any]") -> str:
    """What tells a model's embeddings from those of another."""
    from makar.core.tensors import hash_tensors

    return hash_tensors(model.net.state_dict())


def write_embeddings(model: "Model[Any]", found: Embedded, out: Path) -> None:
    """Write a table of columns id, text, split and vector, a list of float32 of one length."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    flat = pa.array(found.vectors.float().flatten().numpy())
    columns = {
        "id": pa.array(found.ids, pa.string()),
        "text": pa.array(found.texts, pa.string()),
        "split": pa.array(found.splits, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, found.vectors.shape[1]),
    }
    table = pa.table(columns).replace_schema_metadata({MODEL: weights_of(model)})
    with file_atomic(out) as beside:
        pq.write_table(table, beside)


def read_embeddings(model: "Model[Any]", place: Path) -> Embedded:
    """Read what `write_embeddings` wrote.

    Raises:
        InputError: It is no such file, or another model's.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    try:
        table = pq.read_table(place)
        columns = {name: table.column(name).to_pylist() for name in ("id", "text", "split")}
        vectors = torch.from_numpy(
            table.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False).copy()
        )
    except FileNotFoundError:
        raise InputError("there is no such file", where=place, fix="write it with --out") from None
    except (pa.ArrowException, OSError, KeyError, AttributeError) as fault:
        fix = "write it again with --out"
        raise InputError(f"not a table of embeddings: {fault}", where=place, fix=fix) from None
    if (table.schema.metadata or {}).get(MODEL, b"").decode() != weights_of(model):
        raise InputError("the embeddings are another model's", where=place, fix="name the dataset, and --out anew")
    return Embedded(columns["id"], columns["text"], columns["split"], vectors.view(len(columns["id"]), -1))

"""What is measured on pictures: one function a suite, from the material to a section of the report."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from makar.codecs.pixels import to_picture
from makar.core.random import numpy_rng
from makar.evaluate.features import values_of
from makar.evaluate.pictures import PictureMaterial, Pictures, some
from makar.evaluate.report import Figure, Section, Value
from makar.measure.frechet import frechet_distance
from makar.measure.kernel import kernel_distance, kernel_over_subsets
from makar.measure.neighbours import Nearest, manifold, nearest, share_nearer
from makar.measure.resample import jackknife

NEIGHBOURS = 5
"""The k of precision, recall, density and coverage."""

PAIRS = 2000
"""Pictures whose distances are taken all with all, at most."""

BLOCK = 4096
"""Training pictures that are looked among at once."""

COLUMNS, SCALE = 16, 64
"""Pictures in a row of neighbours, and the least side that they are shown at."""

SHARES = ("precision", "recall", "coverage")


def fidelity_section(material: PictureMaterial) -> Section:
    """Distances between what is made and what is real, each beside that of real training pictures."""
    made, real = material.seen_samples, material.seen_real
    floor = material.network.of(some(material.train, len(made)).pixels)
    material.say("comparing")
    columns = {"model": distances(made, real), "training pictures": distances(floor, real)}
    meanings = {
        "frechet": "Fréchet distance; lower is better",
        "frechet_error": "its standard error",
        "kernel": "kernel distance (KID) times 1,000; lower is better, and real ones lie around 0",
        "kernel_error": "its standard error",
        "precision": "share of the pictures within reach of a real one: do they look real",
        "precision_error": "its standard error",
        "recall": "share of the real ones within reach of a picture: is all of them made",
        "recall_error": "its standard error",
        "density": "real ones in whose reach a picture lies, over what is expected; above 1 where pictures crowd",
        "density_error": "its standard error",
        "coverage": "share of the real ones with a picture within their reach",
        "coverage_error": "its standard error",
    }
    figures = {
        name: Figure(
            meaning,
            {whose: found.get(name) for whose, found in columns.items()},
            "%" if name.removesuffix("_error") in SHARES else "",
        )
        for name, meaning in meanings.items()
    }
    figures["pictures"] = Figure("compared", {"model": len(made), "training pictures": len(floor)})
    figures["held_out"] = Figure("that both are compared with", {"model": len(real), "training pictures": len(real)})
    different = len({picture.numpy().tobytes() for picture in material.samples.pixels})
    figures["repeated"] = Figure("pictures equal to another one, pixel for pixel", {"model": len(made) - different})
    return Section(
        f"Likeness to real pictures ({material.network.name})",
        f"Features are those of {material.network.note} ({real.shape[1]} dimensions). What the model made, and as many "
        f"pictures of the training split, are both compared with the split `{material.options.split}`: the second "
        "column is what real pictures score, and no model is better for scoring less. All figures depend on the counts "
        f"and on the network, so compare them with nothing measured otherwise. Reach is that of the {NEIGHBOURS}th "
        f"neighbour; it and the kernel are taken over {PAIRS:,} pictures of each at most. Standard errors leave out a "
        "tenth of both sets in turn.",
        figures,
    )


def distances(made: Tensor, real: Tensor) -> dict[str, float]:
    """All figures of features beside real ones, and their standard errors."""

    def quick(some_real: Tensor, some_made: Tensor) -> dict[str, float]:
        few_real, few_made = some_real[:PAIRS], some_made[:PAIRS]
        alike = min(len(few_real), len(few_made))  # reach shrinks with the count
        found = {"frechet": frechet_distance(some_made, some_real)}
        found["kernel"] = 1000 * kernel_distance(few_made, few_real)
        if alike > NEIGHBOURS:
            found |= vars(manifold(few_real[:alike], few_made[:alike], NEIGHBOURS))
        return found

    shuffled = [rows[torch.from_numpy(numpy_rng("order").permutation(len(rows)))] for rows in (real, made)]
    errors = jackknife(quick, *shuffled)
    figures = quick(*shuffled) | {"kernel": 1000 * kernel_over_subsets(*(rows[:PAIRS] for rows in shuffled))[0]}
    return figures | {f"{name}_error": value for name, value in errors.items()}


def agreement_section(material: PictureMaterial) -> Section:
    """Whether a picture shows the class that was asked for, as far as the classifier can tell."""
    columns = {"model": material.samples, "real": material.real}
    rights = {whose: right_of(material, pictures) for whose, pictures in columns.items()}

    def per(take: Callable[[Tensor], Value]) -> Mapping[str, Value]:
        return {whose: take(right) if len(right) else None for whose, (right, _) in rights.items()}

    figures = {
        "right": Figure("pictures that the classifier takes for what they should be", per(share), "%"),
        "standard_error": Figure(
            "of the share", per(lambda right: (share(right) * (1 - share(right)) / len(right)) ** 0.5), "%"
        ),
        "pictures": Figure("judged", {whose: len(right) for whose, (right, _) in rights.items()}),
    }
    for label, name in enumerate(material.train.classes[:COLUMNS]):
        values = {
            whose: share(right[labels == label]) if bool((labels == label).any()) else None
            for whose, (right, labels) in rights.items()
        }
        figures[f"right: {name}"] = Figure("of this class", values, "%")
    return Section(
        "Classes",
        "A classifier that makar trained on the training pictures judges what the model made of each class, and real "
        f"pictures of the split `{material.options.split}`: the second column is how far it can be trusted. Above that "
        "the model makes its classes clearer than they are, which guidance does.",
        figures,
    )


def right_of(material: PictureMaterial, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Which pictures of known class the classifier is right about, and their labels."""
    assert pictures.labels is not None, "asked of datasets with classes alone"
    known = pictures.labels >= 0
    return (material.guesses(pictures) == pictures.labels)[known], pictures.labels[known]


def share(right: Tensor) -> float:
    """The share of what is true."""
    return float(right.double().mean())


def copies_section(material: PictureMaterial) -> tuple[Section, Any, list[dict[str, Value]]]:
    """How near what is made lies to what was learned from, beside real pictures; a picture of both, and a line each."""
    material.say("looking for the pictures among the training pictures")
    made = material.samples
    real = material.real.spread(len(made))
    spaces: Mapping[str, Callable[[Tensor], Tensor]] = {
        "pixels": lambda pixels: pixels.flatten(1).float(),
        "features": material.network.of,
    }
    figures: dict[str, Figure] = {}
    found: dict[str, Nearest] = {}
    for name, see in spaces.items():
        blocks = [see(block) for block in training(material)] if name == "features" else map(see, training(material))
        both = nearest(torch.cat((see(made.pixels), see(real.pixels))), blocks)
        found[name] = Nearest(both.distance[: len(made)], both.row[: len(made)])
        ours, theirs = both.distance[: len(made)], both.distance[len(made) :]
        limit = theirs.quantile(0.01)
        near = share(ours < limit)
        per = {"model": (ours, near), "real": (theirs, share(theirs < limit))}
        figures |= {
            f"nearer_by_{name}": Figure(
                "how often a picture is nearer to its nearest training picture than a real one is to its own",
                {"model": share_nearer(ours, theirs), "real": 0.5},
                "%",
            ),
            f"as_near_as_copies_by_{name}": Figure(
                "share nearer than 99% of the real ones are", {whose: low for whose, (_, low) in per.items()}, "%"
            ),
            f"as_near_error_by_{name}": Figure(
                "its standard error",
                {whose: (low * (1 - low) / len(each)) ** 0.5 for whose, (each, low) in per.items()},
                "%",
            ),
            f"median_by_{name}": Figure(
                "median distance to the nearest training picture, root of the mean square",
                {whose: float(each.median()) for whose, (each, _) in per.items()},
            ),
        }
    figures["equal"] = Figure(
        "pictures that stand in the training split, pixel for pixel",
        {"model": int((found["pixels"].distance == 0).sum())},
    )
    figures["pictures"] = Figure("looked for", {"model": len(made), "real": len(real)})
    figures["training"] = Figure("pictures looked among", {"model": material.train.rows, "real": material.train.rows})
    section = Section(
        "Copies of training pictures",
        "Each picture's nearest neighbour in the training split, by pixels (levels of 255) and by features, beside "
        f"those of real pictures of the split `{material.options.split}`, which are no copies: at 50% and 1% the model "
        "keeps the distance that they keep. Smooth pictures are near to much by pixels; believe a copy where both say "
        "so, and look at `evaluation-neighbours.png`: the first pictures above their neighbours by features, then "
        "those that are nearest of all. `evaluation-neighbours.jsonl` names the neighbours of every picture.",
        figures,
    )
    return section, neighbours_sheet(made, found["features"], material), neighbours_lines(found, material)


def neighbours_lines(found: Mapping[str, Nearest], material: PictureMaterial) -> list[dict[str, Value]]:
    """Of every picture that was made its nearest training picture: its place in the split, its id, and how far."""
    whole = not material.train.left_out  # else the places of the pixels are not those of the dataset
    ids = [picture.id for picture in material.dataset.pictures("train")] if whole else None
    lines: list[dict[str, Value]] = [{"sample": number} for number in range(len(material.samples))]
    for space, each in found.items():
        for line, row, distance in zip(lines, each.row.tolist(), each.distance.tolist(), strict=True):
            line |= {f"row_by_{space}": row, f"id_by_{space}": ids and ids[row], f"distance_by_{space}": distance}
    return lines


def training(material: PictureMaterial) -> Iterator[Tensor]:
    """The training pictures, some at a time."""
    for start in range(0, material.train.rows, BLOCK):
        rows = np.arange(start, min(material.train.rows, start + BLOCK))
        yield torch.from_numpy(np.ascontiguousarray(material.train.take(rows)))


def neighbours_sheet(made: Pictures, found: Nearest, material: PictureMaterial) -> Any:
    """Pictures above their neighbours: the first ones, and below a gap those that are nearest of all."""
    first, nearest_of_all = torch.arange(min(COLUMNS, len(made))), found.distance.argsort()[:COLUMNS]
    rows: list[Tensor] = []
    for chosen in (first, nearest_of_all):
        places = found.row[chosen].numpy()
        rows += [made.pixels[chosen], torch.from_numpy(material.train.take(places))]
    return sheet(rows, gap_after=2)


def samples_sheet(made: Pictures) -> Any:
    """The first samples."""
    side = max(1, int(min(64, len(made)) ** 0.5))
    return sheet(list(made.pixels[: side * side].split(side)))


def sheet(rows: list[Tensor], gap_after: int = 0) -> Any:
    """Rows of pictures as one picture, small ones enlarged; white between."""
    from PIL import Image

    channels, high, wide = rows[0].shape[1:]
    times = max(1, -(-SCALE // wide))
    line, column = high * times + 2, wide * times + 2
    gap = line // 4 if gap_after else 0
    size = (column * max(map(len, rows)), line * len(rows) + gap)
    canvas = Image.new("L" if channels == 1 else "RGB", size, "white")
    for number, row in enumerate(rows):
        down = number * line + (gap if gap_after and number >= gap_after else 0)
        for place, pixels in enumerate(values_of(row)):
            picture = to_picture(pixels).resize((wide * times, high * times), Image.Resampling.NEAREST)
            canvas.paste(picture, (place * column, down))
    return canvas

"""How many of the thousand kinds of stacked digits a model makes: the suite "modes"."""

from typing import Any

import torch
from torch import Tensor

from makar.core.errors import InputError
from makar.data.pixels import kept_pixels
from makar.data.stacked import COLOURS, Stacked
from makar.evaluate.classifier import classifier_of
from makar.evaluate.features import values_of
from makar.evaluate.pictures import TOGETHER, PictureMaterial
from makar.evaluate.report import Figure, Section
from makar.measure.modes import modes


def modes_section(material: PictureMaterial) -> Section:
    """Which class each colour of a picture shows, and how many kinds of pictures that makes.

    Raises:
        InputError: The model makes no colours, or the dataset no gray pictures of named classes.
    """
    facts, (channels, size) = material.dataset.manifest.pictures, material.shape
    if facts is None or facts.channels != 1 or len(facts.classes) < 2 or channels != COLOURS:
        fix = "measure a model of three channels that was trained with data.stack on gray pictures of named classes"
        raise InputError("there are no stacked pictures to count kinds of", where=material.dataset.path, fix=fix)
    train, held = (
        kept_pixels(material.dataset, split, size, 1, say=material.say) for split in ("train", material.options.split)
    )
    classifier = classifier_of(material.dataset, train, material.say).net
    made = material.samples.pixels
    real = torch.from_numpy(held.take(Stacked(held, material.options.seed).rows(0, len(made)).flatten().numpy()))
    kinds = {"model": made, "real": real.view(len(made), COLOURS, size, size)}
    classes = {whose: guessed(classifier, pixels) for whose, pixels in kinds.items()}
    found = {whose: modes(each, classes["real"], len(facts.classes)) for whose, each in classes.items()}
    figures = {
        "modes": Figure("kinds that were made", {whose: each.count for whose, each in found.items()}),
        "divergence": Figure(
            "from the kinds made to those that are real, in nats; lower is better",
            {whose: each.divergence for whose, each in found.items()},
        ),
        "kinds": Figure("that there are", {whose: len(facts.classes) ** COLOURS for whose in found}),
        "pictures": Figure("looked at", {whose: len(made) for whose in found}),
    }
    return Section(
        "Kinds of stacked pictures",
        "A classifier that makar trained on the dataset says which class each colour shows. The second column is what "
        f"as many stacks of real pictures of the split `{material.options.split}` show.",
        figures,
    )


@torch.inference_mode()
def guessed(classifier: Any, pixels: Tensor) -> Tensor:
    """The class of each colour of each picture."""
    found = [classifier(values_of(part.flatten(0, 1)[:, None])).argmax(1) for part in pixels.split(TOGETHER)]
    return torch.cat(found).view(len(pixels), COLOURS)

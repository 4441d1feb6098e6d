"""How well what a model makes fits the captions that it was told, as a CLIP sees it."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from makar.core.errors import ModelError
from makar.core.nouns import Model
from makar.engine.load import open_model
from makar.evaluate.features import values_of
from makar.evaluate.pictures import TOGETHER, PictureMaterial, Pictures
from makar.evaluate.report import Section
from makar.evaluate.rows import over_rows
from makar.families.clip.build import captions_of
from makar.families.clip.sample import token_vectors
from makar.families.clip.score import seen
from makar.measure.retrieval import clip_score


def fit_section(material: PictureMaterial) -> Section:
    """CLIPScore of pictures with their captions, of the real pictures of these, and of captions of other pictures.

    Raises:
        ModelError: What shall judge is no CLIP.
    """
    place = material.options.reference
    assert place is not None, "checked before anything is made"
    judge = open_model(place)
    if judge.family.name != "clip":
        fix = "name a CLIP with --reference"
        raise ModelError("it cannot say how pictures fit texts", where=place, value=judge.family.name, fix=fix)
    asked = material.captions
    captions = [text for _, text in asked]
    real = material.held_rows([row for row, _ in asked])
    material.say("asking CLIP how the pictures fit")
    texts = token_vectors(judge, captions_of(judge).rows(captions))
    others = texts[torch.tensor(other_captions(captions))]
    made = vectors_of(judge, material.samples)
    scores = {"model": (made, texts), "real": (vectors_of(judge, real), texts), "shuffled": (made, others)}
    rows = {whose: clip_score((pictures * told).sum(1)).tolist() for whose, (pictures, told) in scores.items()}
    return Section(
        f"Likeness to captions (CLIPScore by {place.name if place.name != 'model' else place.parent.name})",
        f"Each picture was made of the caption of a picture of the split `{material.options.split}`. A CLIP says how "
        "well it fits that caption, beside the real picture, and beside the caption of another one, which is chance. "
        "A model that was told by this CLIP's own tower, or aligned by it, is judged kindly: name another.",
        {"clip_score": over_rows("CLIPScore of a picture and its caption; higher is better", rows)},
    )


@torch.inference_mode()
def vectors_of(judge: Model[Any], pictures: Pictures) -> Float[Tensor, "rows dims"]:
    """What a CLIP makes of pictures of any size."""
    return torch.cat([seen(judge, values_of(some).to(judge.device)) for some in pictures.pixels.split(TOGETHER)])


def other_captions(captions: Sequence[str]) -> list[int]:
    """For each caption the place of the next one that says something else, or its own where there is none."""
    count, found = len(captions), list[int]()
    for place, caption in enumerate(captions):
        later = ((place + step) % count for step in range(1, count))
        found.append(next((other for other in later if captions[other] != caption), place))
    return found

"""Pictures and texts that find each other, and pictures named by what a model was never trained to name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from makar.core.nouns import Model
from makar.core.random import key_of, numpy_rng
from makar.core.say import Say
from makar.data.scene_drawing import Sprites
from makar.data.scene_things import ACCESSORIES, ATTRIBUTES, COLOURS, COUNTS, PLACES, POSITIONS, SUBJECTS, Scene
from makar.data.scene_words import PHRASINGS, tell
from makar.data.scenes import Part, Scenes, scene_of
from makar.evaluate.report import Figure, Section
from makar.evaluate.rows import COUNT, over_rows
from makar.families.clip.build import captions_of
from makar.families.clip.sample import AT_ONCE, text_vectors, token_vectors
from makar.families.clip.score import seen
from makar.measure.retrieval import by_luck, chance, clip_score, ranks

Vectors = Float[Tensor, "rows dims"]

ROWS = 1000
"""Pictures that are looked among, if the options do not say."""

FIRST = (1, 5, 10)
"""How many of what is found are looked at."""

OPTIONS = 20
"""Names that one is chosen from, where there are so many."""

TEMPLATES = ("{}", "a {}", "a picture of a {}", "a picture of {}", "an emoji of a {}")
"""What is said with a class's name; the mean of what all of them mean stands for it. Paper: arXiv 2103.00020, 3.1.4."""

PROMPTS = 48
"""Sentences that stand for an attribute of scenes."""

PARTS: Mapping[Part, str] = {"seen": "seen", "triple": "unseen triples", "pair": "unseen pairs"}
"""Scenes of which combinations are found and named, and what the report calls them."""

LUCK = "p"
"""The column that says how likely a figure is by chance."""

NAMES: Mapping[str, Sequence[Any]] = {
    "subject": tuple(SUBJECTS), "accessory": (None, *ACCESSORIES), "place": tuple(PLACES), "colour": tuple(COLOURS),
    "count": tuple(COUNTS), "position": tuple(POSITIONS),
}  # fmt: skip
"""What each attribute of a scene can be."""


@dataclass(frozen=True)
class Told:
    """Pictures and their texts as a model sees and reads them.

    Args:
        pictures: One row each, of length 1.
        texts: The same of their texts.
        captions: The texts; equal ones are each other's match.
    """

    pictures: Vectors
    texts: Vectors
    captions: Sequence[str]

    @property
    def match(self) -> Bool[Tensor, "rows rows"]:
        """Which picture goes with which text."""
        number = {caption: place for place, caption in enumerate(self.captions)}
        which = torch.tensor([number[caption] for caption in self.captions])
        return which[:, None] == which


def told_vectors(model: Model[Any], pictures: Vectors, captions: Sequence[str]) -> Told:
    """Pictures beside what a model makes of their texts; long ones lose their end, as in training.

    Args:
        model: A CLIP.
        pictures: As it sees them, of length 1.
        captions: As many.
    """
    return Told(pictures, token_vectors(model, captions_of(model).rows(captions)), captions)


def retrieval_figures(found: Told) -> dict[str, Figure]:
    """Recall both ways, beside chance, and how well the right ones fit.

    Args:
        found: Pictures and texts.
    """
    likeness, match = found.pictures @ found.texts.T, found.match
    figures: dict[str, Figure] = {}
    for way, asked, right in (("text", likeness, match), ("picture", likeness.T, match.T)):
        place = ranks(asked, right)
        for at in FIRST:
            hits, luck = (place < at).float(), chance(right, at)
            meaning = f"the right {way} is the first found" if at == 1 else f"it is among the first {at}"
            figures[f"{way}_at_{at}"] = beside_chance(meaning, hits.tolist(), luck.tolist())
        figures[f"{way}_rank"] = Figure("median of its place", {"model": 1 + int(place.median())})
    score = clip_score((found.pictures * found.texts).sum(1))
    figures["clip_score"] = over_rows("CLIPScore of a picture and its own text", {"model": score.tolist()})
    return figures


def beside_chance(meaning: str, hits: Sequence[float], luck: Sequence[float]) -> Figure:
    """A share of hits, what it is by chance, and how likely so many are by it.

    Args:
        meaning: What a hit is.
        hits: 1 or 0 of each row.
        luck: How likely each is by chance.
    """
    figure = over_rows(meaning, {"model": hits, "chance": luck}, "%")
    p = by_luck(int(sum(hits)), len(hits), sum(luck) / len(luck))
    return replace(figure, values={**figure.values, LUCK: f"{p:.2g}"})


def side_by_side(parts: Mapping[str, Figure]) -> Figure:
    """The same figure of several parts in columns; of what says how sure they are, the worst.

    Args:
        parts: By what they are called.
    """
    first = next(iter(parts.values()))
    values: dict[str, Any] = {whose: figure.values["model"] for whose, figure in parts.items()}
    for column in (column for column in first.values if column != "model"):
        each: list[Any] = [figure.values[column] for figure in parts.values()]
        values[column] = min(each) if column == COUNT else each[0] if column == "chance" else max(each, key=float)
    return replace(first, values=values)


def chosen(
    pictures: Vectors, names: Float[Tensor, "names dims"], right: Int[Tensor, " rows"], ways: int, seed: int
) -> list[float]:
    """Whether each picture's nearest name is the right one.

    Args:
        pictures: Of length 1.
        names: Of length 1, one for each name.
        right: The number of each picture's name.
        ways: Names that it is chosen from: the right one, and others drawn for each picture.
        seed: Of the draw.
    """
    likeness = pictures @ names.T
    if ways < len(names):
        keys = torch.from_numpy(numpy_rng(seed, "options").random(tuple(likeness.shape)))
        keys.scatter_(1, right[:, None], -1.0)
        out = keys.argsort(1)[:, ways:]
        likeness = likeness.scatter(1, out, -torch.inf)
    return (ranks(likeness, F.one_hot(right, len(names)).bool()) == 0).float().tolist()


def meant(model: Model[Any], prompts: Sequence[Sequence[str]]) -> Float[Tensor, "names dims"]:
    """What stands for each name: the mean of what its prompts mean, of length 1."""
    flat = text_vectors(model, [prompt for each in prompts for prompt in each])
    means = [part.mean(0) for part in flat.split([len(each) for each in prompts])]
    return F.normalize(torch.stack(means), dim=1)


def named_section(
    model: Model[Any], pictures: Vectors, labels: Int[Tensor, " rows"], classes: Sequence[str]
) -> Section:
    """The suite "zeroshot" of a dataset with classes: each picture is given the name that is nearest.

    Args:
        model: A CLIP.
        pictures: As it sees them, of length 1.
        labels: Of each.
        classes: Their names.
    """
    names = meant(model, [[template.format(name) for template in TEMPLATES] for name in classes])
    hits = chosen(pictures, names, labels, len(classes), 0)
    figure = beside_chance("the nearest class is the picture's own", hits, [1 / len(classes)] * len(hits))
    note = f"Each of {len(classes)} classes is the mean of {len(TEMPLATES)} phrases with its name: {TEMPLATES[2]!r}."
    return Section("Zero-shot classes", note, {"right": figure})


def scene_sections(
    model: Model[Any], sprites: Sprites, *, seed: int, count: int | None, say: Say
) -> dict[str, Section]:
    """The suites "zeroshot" and "retrieval" on scenes, of seen combinations and of others.

    Args:
        model: A CLIP.
        sprites: The emoji of the scenes.
        seed: Of the scenes: another than the training's.
        count: Scenes of each part; None for 1,000.
        say: Told what is being done.
    """
    count = count or ROWS
    naming: dict[str, dict[str, Figure]] = {}
    finding: dict[str, dict[str, Figure]] = {}
    for part, whose in PARTS.items():
        say(f"{count:,} scenes: {whose}")
        scenes, pictures, said = seen_scenes(model, sprites, part, key_of(seed, "retrieval", part), count)
        whole = [tell(scene) for scene in scenes]
        found = {name: told_vectors(model, pictures, captions) for name, captions in (("", whole), ("as_said_", said))}
        for name, figure in naming_figures(model, found[""], scenes).items():
            naming.setdefault(name, {})[whose] = figure
        for which, each in found.items():
            for name, figure in retrieval_figures(each).items():
                finding.setdefault(which + name, {})[whose] = figure
    naming_note = (
        f"Scenes of another seed than the training's. `scene` chooses among {OPTIONS} captions: the scene's own, and "
        f"those of others of its part. The rest choose one attribute, where each name is the mean of {PROMPTS} "
        "sentences that hold it. The error is the largest of the three."
    )
    finding_note = (
        f"Each of {count:,} captions of other scenes than the training's looks for its picture among as many, and each "
        "picture for its caption; equal captions find each other's. Captions say everything; those `as_said` leave "
        "things out, as in training. Chance is a random order; p is how likely so many hits are by it, and like the "
        "error the largest of the three."
    )
    together = [{name: side_by_side(parts) for name, parts in each.items()} for each in (naming, finding)]
    return {
        "zeroshot": Section("Zero-shot on scenes", naming_note, together[0]),
        "retrieval": Section("Retrieval on scenes", finding_note, together[1]),
    }


@torch.inference_mode()
def seen_scenes(
    model: Model[Any], sprites: Sprites, part: Part, seed: int, count: int
) -> tuple[list[Scene], Vectors, list[str]]:
    """Scenes of a part, what the model makes of their pictures, and captions that leave things unsaid."""
    size = model.config.vision.image_size  # pyright: ignore[reportAttributeAccessIssue]: of a CLIP
    stream = Scenes(sprites, size, seed, part)
    rows = [stream.row(number) for number in range(count)]
    images = torch.stack([torch.from_numpy(pixels) for pixels, _, _ in rows]).float() / 127.5 - 1
    pictures = torch.cat([seen(model, some.to(model.device)) for some in images.split(AT_ONCE)])
    return [scene for _, _, scene in rows], pictures, [caption for _, caption, _ in rows]


def naming_figures(model: Model[Any], found: Told, scenes: Sequence[Scene]) -> dict[str, Figure]:
    """How often a scene's own caption, and each of its attributes, is the nearest of several."""
    device, hits = found.pictures.device, among_others(found, OPTIONS)
    figures = {"scene": beside_chance(f"the nearest of {OPTIONS} captions is its own", hits, [1 / OPTIONS] * len(hits))}
    for attribute in ATTRIBUTES:
        names = NAMES[attribute]
        asked = [row for row, scene in enumerate(scenes) if getattr(scene, attribute) in names]
        right = torch.tensor([names.index(getattr(scenes[row], attribute)) for row in asked], device=device)
        ways = min(OPTIONS, len(names))
        meant_by = meant(model, [list(prompts_of(attribute, name)) for name in names])
        hits = chosen(found.pictures[torch.tensor(asked, device=device)], meant_by, right, ways, 0)
        figures[attribute] = beside_chance(f"the nearest of {ways} is right", hits, [1 / ways] * len(hits))
    return figures


def among_others(found: Told, ways: int) -> list[float]:
    """Whether each picture's own text is nearer than those of the rows behind it, equal ones left out."""
    likeness, match = (found.pictures @ found.texts.T).cpu(), found.match
    hits: list[float] = []
    for row in range(len(likeness)):
        others = torch.nonzero(~match[row].roll(-row)).flatten()[: ways - 1]
        others = (others + row) % len(likeness)
        hits.append(float(likeness[row, row] > likeness[row, others].amax()))
    return hits


def prompts_of(attribute: str, value: Any) -> Iterator[str]:
    """Sentences about scenes in which an attribute has a value, and little else is said."""
    for number in range(PROMPTS):
        scene = scene_of(number, key_of("prompts", attribute))
        worn = scene.accessory or "crown"
        plain = replace(scene, accessory=None, colour=None, place="", position=None, sign=None, count=1)
        if attribute == "colour":
            plain = replace(plain, accessory=worn)
        yield tell(replace(plain, **{attribute: value}), PHRASINGS[number % len(PHRASINGS)])

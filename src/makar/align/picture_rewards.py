"""What a picture earns: one table of rules, from its brightness to a person's own function.

A rule looks at all pictures together, as tensors, so that one whose numbers have a gradient can also be climbed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from makar.align.functions import load_function
from makar.align.rewards import options_of
from makar.core.config import nearest
from makar.core.errors import InputError, RecipeError, UserError

Images = Float[Tensor, "rows channels high wide"]
Rows = Float[Tensor, " rows"]

PictureJudge = Callable[[Images, Sequence[Any]], Rows]
"""From pictures in -1 to 1 and their prompts to what each earns."""

COLOURS = {
    "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1),
    "yellow": (1, 1, 0), "cyan": (0, 1, 1), "magenta": (1, 0, 1),
}  # fmt: skip
"""Which of the three lights a colour is made of."""

OURS = {"class": "classify", "clip": "fits", "people": "taste", "scene": "verdict"}
"""The argument of a rule that a recipe does not give: what is handed over to judge with."""


@dataclass(frozen=True)
class Classifier:
    """What tells the classes of pictures apart.

    Args:
        see: From pictures to logits, with a gradient.
        classes: Their names, in the order of the logits.
        asked: The names of the classes that a prompt which is a number means.
    """

    see: Callable[[Images], Float[Tensor, "rows classes"]]
    classes: tuple[str, ...]
    asked: tuple[str, ...] = ()

    def label(self, prompt: Any) -> int:
        """The place of a prompt's class among the logits.

        Raises:
            InputError: It is none of them.
        """
        if isinstance(prompt, int) and prompt < len(self.asked):
            prompt = self.asked[prompt]
        if isinstance(prompt, int) and 0 <= prompt < len(self.classes):
            return prompt
        if prompt not in self.classes:
            fix = nearest(str(prompt), self.classes)
            raise InputError("the classifier knows no such class", where="reward.class", value=prompt, fix=fix)
        return self.classes.index(prompt)


@dataclass(frozen=True)
class PictureReward:
    """A judge and how much it counts.

    Args:
        name: For the metrics and for errors.
        judge: From pictures and prompts to numbers.
        weight: In the sum of all rewards.
        where: What to name when it fails: the rule, or the person's function.
    """

    name: str
    judge: PictureJudge
    weight: float = 1.0
    where: str = ""


def brightness() -> PictureJudge:
    """The mean of all values: 0 for black, 1 for white."""
    return lambda images, prompts: (images.flatten(1).mean(1) + 1) / 2  # noqa: ARG005


def colour(name: Literal["red", "green", "blue", "yellow", "cyan", "magenta"]) -> PictureJudge:
    """How much more a picture shines in the lights of a colour than in the others: -1 to 1, and 0 for grey.

    Args:
        name: The colour.
    """
    wanted = torch.tensor(COLOURS[name], dtype=torch.bool)

    def judge(images: Images, prompts: Sequence[Any]) -> Rows:  # noqa: ARG001
        if images.shape[1] != len(wanted):
            fix = "reward brightness, or align a model of colours"
            raise InputError("a grey picture has no colour", where="reward.colour", value=name, fix=fix)
        light = (images.mean((2, 3)) + 1) / 2
        return light[:, wanted].mean(1) - light[:, ~wanted].mean(1)

    return judge


def class_score(classify: Classifier | None, name: str | None = None) -> PictureJudge:
    """How sure the dataset's own classifier is that a picture is of its class: 0 nats for certain, below it for less.

    Args:
        classify: The classifier.
        name: The class; what each picture was asked to be, if left out.

    Raises:
        RecipeError: The data have no classes.
        InputError: No such class.
    """
    if classify is None:
        fix = "take it out, or name data with classes"
        raise RecipeError("the data have no classes to tell apart", where="reward.class", fix=fix)
    one = None if name is None else classify.label(name)

    def judge(images: Images, prompts: Sequence[Any]) -> Rows:
        labels = [classify.label(prompt) if one is None else one for prompt in prompts]
        found = classify.see(images).float().log_softmax(1)
        return found.gather(1, torch.tensor(labels, device=found.device)[:, None]).squeeze(1)

    return judge


def clip(fits: PictureJudge | None, path: str) -> PictureJudge:  # noqa: ARG001 - the recipe finds the model
    """How well a picture fits its caption: the cosine of what a CLIP makes of both.

    Paper: arXiv 2104.08718, eq. 1, without its factor of 2.5 and without its cut at 0.

    Args:
        fits: The CLIP at work.
        path: Which one.

    Raises:
        RecipeError: There is none.
    """
    if fits is None:
        raise RecipeError("no CLIP is there to judge", where="reward.clip", fix="name one: path = '@clip'")
    return fits


def people(taste: PictureJudge | None, path: str) -> PictureJudge:  # noqa: ARG001 - the recipe reads the store
    """What people chose, learned from a store of their choices between pictures: its unit is a nat of preference.

    Args:
        taste: What was learned.
        path: The store, or a snapshot of it.

    Raises:
        RecipeError: Nothing was.
    """
    if taste is None:
        fix = "name one of pictures: path = 'choices.jsonl'"
        raise RecipeError("no choices are there to judge by", where="reward.people", fix=fix)
    return taste


def scene(verdict: PictureJudge | None) -> PictureJudge:
    """How sure a judge of scenes is of everything that a caption asks for: 0 nats for certain, below it for less.

    Args:
        verdict: The judge at work.

    Raises:
        RecipeError: The data are no scenes.
    """
    if verdict is None:
        fix = "set data.rows = 'scenes', or reward something else"
        raise RecipeError("only scenes have a judge of what was asked", where="reward.scene", fix=fix)
    return verdict


def python(function: str) -> PictureJudge:
    """A person's own function of (images, prompts), from a file: a tensor of rows, or a list of numbers.

    Args:
        function: "file.py:name"; in a recipe "module:name" is looked for beside the recipe.
    """
    chosen = load_function(function)

    def judge(images: Images, prompts: Sequence[Any]) -> Rows:
        found = chosen(images, list(prompts))
        return found if isinstance(found, Tensor) else torch.tensor([float(value) for value in found])

    return judge


RULES: Mapping[str, Callable[..., PictureJudge]] = {
    "brightness": brightness,
    "colour": colour,
    "class": class_score,
    "clip": clip,
    "people": people,
    "python": python,
    "scene": scene,
}
"""All rules by name; a recipe gives their arguments."""


def make_picture_rewards(table: Mapping[str, float | Mapping[str, Any]], **ours: Any) -> list[PictureReward]:
    """The rewards that a recipe names.

    Args:
        table: For each rule its weight, or a table with "weight" and the rule's options.
        ours: What rules judge with, by the names of `OURS`; what is not given is not there.

    Raises:
        RecipeError: No rule of that name, an option it does not know or lacks, or no reward at all.
    """
    if not table:
        raise RecipeError("no reward", where="reward", fix=f"name one or more of: {', '.join(RULES)}")
    found: list[PictureReward] = []
    for name, given in table.items():
        options, weight = options_of(name, given, RULES, tuple(OURS.values()))
        handed = {OURS[name]: ours.get(OURS[name])} if name in OURS else {}
        found.append(PictureReward(name, RULES[name](**handed, **options), weight, str(options.get("function", name))))
    return found


def judged(reward: PictureReward, images: Images, prompts: Sequence[Any], first: int = 0) -> Rows:
    """A reward's numbers, checked; with their gradient, where it has one.

    Args:
        reward: One of a recipe's.
        images: In -1 to 1.
        prompts: Of each.
        first: The number of the first row, for errors.

    Raises:
        InputError: The reward raised, or gave what is no finite number for every picture; names it and the row.
    """
    where = f"reward {reward.where or reward.name}"
    try:
        found = reward.judge(images, prompts)
    except UserError:
        raise
    except Exception as fault:
        row = first + failing(reward, images, prompts)
        what = f"the reward raised {type(fault).__name__}: {fault}"
        raise InputError(what, where=f"{where}, row {row}", fix="mend the function") from fault
    if tuple(found.shape) != (len(images),):
        fix = "return one number for every picture"
        raise InputError("the reward gave another shape", where=where, value=tuple(found.shape), fix=fix)
    for row, value in enumerate(found.tolist(), first):
        if not math.isfinite(value):
            fix = "return a finite number for every picture"
            raise InputError(f"the reward gave {value}", where=f"{where}, row {row}", fix=fix)
    return found.float()


def failing(reward: PictureReward, images: Images, prompts: Sequence[Any]) -> int:
    """The first row that a reward fails on alone; the first of all, where it fails on many only."""
    for row, prompt in enumerate(prompts):
        try:
            reward.judge(images[row : row + 1], [prompt])
        except Exception:  # a person's function may raise anything
            return row
    return 0


@torch.no_grad()
def earned(rewards: Sequence[PictureReward], images: Images, prompts: Sequence[Any], first: int = 0) -> dict[str, Rows]:
    """What pictures earn from each reward, before weights; see `judged`."""
    return {reward.name: judged(reward, images, prompts, first).cpu() for reward in rewards}


def total(rewards: Sequence[PictureReward], found: Mapping[str, Rows]) -> Rows:
    """The weighted sum of all rewards."""
    return torch.stack([reward.weight * found[reward.name] for reward in rewards]).sum(0)

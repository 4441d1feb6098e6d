"""How a model of scenes comes to do what it is asked: attribute by attribute, long before its loss says so."""

import time
from typing import Any

from makar.core.config import Config
from makar.core.errors import RecipeError
from makar.core.nouns import Model, Verdict, Watch
from makar.core.say import Say
from makar.data.scene_drawing import Sprites
from makar.data.scenes import scene_seed
from makar.evaluate.judge import judge_of, judged
from makar.evaluate.reliability import share
from makar.evaluate.scenes import pictures_of, requests_of
from makar.families.settings import square
from makar.recipes.captioned import emoji_of
from makar.recipes.recipe import Recipe


def attribute_watch(sprites: Sprites, settings: Config, *, pictures: int, seed: int, say: Say) -> Watch:
    """A watch that lets a judge look at what the model makes of requests, half of them for unseen triples.

    Args:
        sprites: The emoji of the scenes.
        settings: The family's settings of generation.
        pictures: How many are made at each look.
        seed: Of the requests, and of the pictures: the same at every look.
        say: Told when the judge has to be trained first.
    """
    judge = judge_of(sprites, say)
    half, stream = max(1, pictures // 2), scene_seed(seed, "watched")
    asked = [*requests_of("seen", half, stream), *requests_of("triple", half, stream)]
    wanted = [each.wanted for each in asked]

    def look(step: int, model: Model[Any]) -> Verdict:  # noqa: ARG001
        start = time.perf_counter()
        verdicts = judged(judge, pictures_of(model, asked, settings, seed, lambda line: None))  # noqa: ARG005
        right, passed = verdicts.right(wanted), verdicts.passed(wanted)
        logs = {name: share(each) for name, each in right.items()}
        logs |= {
            "well_formed": share(verdicts.well_formed),
            "seen": share(passed[:half]),
            "unseen": share(passed[half:]),
        }
        note = ", ".join(f"{name} {value:.0%}" for name, value in logs.items())
        return Verdict({**logs, "seconds": time.perf_counter() - start}, note=f"as asked: {note}")

    return look


def attributes(recipe: Recipe, model: Model[Any], settings: Config, say: Say) -> Watch:
    """The watch that a recipe of scenes asks for.

    Raises:
        RecipeError: It does not learn scenes, or the model is told no texts.
    """
    if recipe.data.rows != "scenes" or "text" not in model.parts:
        fix = "set data.rows = 'scenes' and parts = {text = '@clip'}, or leave it out"
        raise RecipeError("only scenes are judged, of a model that is told texts", where="watch.judged", fix=fix)
    _, sprites = emoji_of(recipe.data)
    return attribute_watch(sprites, square(settings), pictures=recipe.watch.judged, seed=recipe.seed, say=say)

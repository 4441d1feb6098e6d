"""Our towers are transformers' `CLIPModel` and `SiglipModel`: the same folder, the same numbers."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModel,
    AutoProcessor,
    CLIPConfig,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    SiglipConfig,
    SiglipModel,
)

from makar.core.random import Rng
from makar.families.clip.build import embedded
from makar.families.clip.ecosystem import from_ecosystem
from makar.families.clip.family import FAMILY, load
from makar.families.clip.sample import image_vectors, text_vectors, token_vectors
from makar.families.clip.text import read_text, text_of
from tests.families.clip.support import CAPTIONS, rows, saved, tiny

KIND = pytest.mark.parametrize("kind", ["clip", "siglip"])
LOSS = {"clip": "softmax", "siglip": "sigmoid"}


def theirs(model, batch):
    with torch.no_grad():
        return model(input_ids=batch["tokens"], pixel_values=batch["images"], return_loss=True)


@KIND
def test_our_folder_gives_our_numbers_there(kind, tmp_path):
    ours = tiny(kind)
    batch = rows(ours)
    found = theirs(AutoModel.from_pretrained(saved(ours, tmp_path / "model")).eval(), batch)
    with torch.no_grad():
        seen, read = embedded(ours, batch["images"], batch["tokens"])
        objective = FAMILY.objectives[LOSS[kind]]()
        whole = objective.prepare(ours, batch, Rng(0, 0, torch.arange(3)))
        loss = objective(ours, whole, "", Rng(0, 0, torch.arange(3)))
    bias = 0 if kind == "clip" else ours.net.logit_bias
    torch.testing.assert_close(seen, found.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(read, found.text_embeds, atol=1e-5, rtol=0)
    logits = ours.net.logit_scale.exp() * seen @ read.T + bias
    torch.testing.assert_close(logits, found.logits_per_image, atol=1e-4, rtol=0)
    torch.testing.assert_close(loss.sum / loss.count, found.loss, atol=1e-4, rtol=0)


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("end", [2, 59])
def test_their_clip_gives_their_numbers_here(act, end, tmp_path):
    """2 is what folders of before 2023 say, and means the highest number of a row."""
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": act}
    words = {"vocab_size": 60, "max_position_embeddings": 10, "eos_token_id": end}
    text = {**shape, **words, "hidden_size": 32, "intermediate_size": 64}
    vision = {**shape, "hidden_size": 48, "intermediate_size": 96, "image_size": 16, "patch_size": 4}
    torch.manual_seed(0)
    peer = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)).eval()
    peer.save_pretrained(tmp_path)
    ours = load(tmp_path)
    tokens = torch.randint(3, 59, (3, 10))
    tokens[[0, 1, 2], [4, 9, 1]] = 59
    batch = {"images": torch.rand(3, 3, 16, 16), "tokens": tokens}
    found = theirs(peer, batch)
    ours.net.eval()
    with torch.no_grad():
        seen, read = ours.net(batch["images"], tokens)
        _, cut = embedded(ours, batch["images"][[0, 2]], tokens[[0, 2]])
    torch.testing.assert_close(seen, found.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(read, found.text_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(cut, found.text_embeds[[0, 2]], atol=1e-5, rtol=0)
    torch.testing.assert_close(token_vectors(ours, tokens), found.text_embeds, atol=1e-5, rtol=0)


def test_their_siglip_gives_their_numbers_here(tmp_path):
    shape = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**shape, "vocab_size": 60, "max_position_embeddings": 10}
    config = SiglipConfig(text_config=text, vision_config={**shape, "image_size": 16, "patch_size": 4})
    torch.manual_seed(0)
    peer = SiglipModel(config).eval()
    peer.save_pretrained(tmp_path)
    ours = load(tmp_path)
    ours.net.eval()
    batch = {"images": torch.rand(3, 3, 16, 16), "tokens": torch.randint(0, 60, (3, 10))}
    found = theirs(peer, batch)
    with torch.no_grad():
        seen, read = ours.net(batch["images"], batch["tokens"])
    torch.testing.assert_close(seen, found.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(read, found.text_embeds, atol=1e-5, rtol=0)


def test_what_a_folder_leaves_out_is_transformers_own_default():
    usual = CLIPConfig()
    ours = from_ecosystem({"model_type": "clip", "text_config": {}}, (0.5,) * 3, (0.5,) * 3, "here")
    for mine, peer in ((ours.text, usual.text_config), (ours.vision, usual.vision_config)):
        assert mine.model_dump() == {name: getattr(peer, name) for name in type(mine).model_fields}
    siglip = from_ecosystem({"model_type": "siglip"}, (0.5,) * 3, (0.5,) * 3, "here")
    for mine, peer in ((siglip.text, SiglipConfig().text_config), (siglip.vision, SiglipConfig().vision_config)):
        assert mine.model_dump() == {name: getattr(peer, name) for name in type(mine).model_fields}


def test_a_processor_opens_the_folder_and_does_the_same(tmp_path):
    ours = tiny(image_mean=(0.48, 0.46, 0.41), image_std=(0.27, 0.26, 0.28))
    folder = saved(ours, tmp_path / "model")
    processor = AutoProcessor.from_pretrained(folder)
    generator = np.random.default_rng(0)
    pictures = [
        Image.fromarray(generator.integers(0, 255, (*size, 3), dtype=np.uint8)) for size in ((20, 31), (16, 16))
    ]
    said = processor(images=pictures, text=CAPTIONS[:2], return_tensors="pt", padding="max_length")
    assert said["input_ids"].tolist() == ours.parts["codec"].ids(CAPTIONS[:2]).tolist()
    with torch.no_grad():
        found = AutoModel.from_pretrained(folder).eval()(**said)
    torch.testing.assert_close(image_vectors(ours, pictures), found.image_embeds, atol=1e-3, rtol=0)
    scale = ours.net.logit_scale.detach().exp()
    torch.testing.assert_close(
        scale * image_vectors(ours, pictures) @ text_vectors(ours, CAPTIONS[:2]).T,
        found.logits_per_image,
        atol=1e-2,
        rtol=0,
    )


def test_the_text_tower_opens_in_transformers_as_sd3_takes_it(tmp_path):
    text = text_of(tiny())
    text.save(tmp_path)
    peer = CLIPTextModelWithProjection.from_pretrained(tmp_path).eval()
    ids = CLIPTokenizer.from_pretrained(tmp_path)(
        CAPTIONS[:3] + [""], padding="max_length", max_length=text.length, truncation=True, return_tensors="pt"
    ).input_ids
    assert torch.equal(ids, text.ids([*CAPTIONS[:3], ""]))
    with torch.no_grad():
        found = peer(ids, output_hidden_states=True)
    tokens, whole = text.features(ids)
    torch.testing.assert_close(tokens, found.hidden_states[-2], atol=1e-5, rtol=0)
    torch.testing.assert_close(whole, found.text_embeds, atol=1e-5, rtol=0)
    assert (tokens.shape[1:], whole.shape[1]) == ((text.length, text.width), text.pooled_width)


def test_a_text_tower_made_elsewhere_is_read(tmp_path):
    text = text_of(tiny())
    (tmp_path / "tower").mkdir()
    text.save_tower(tmp_path / "tower")
    CLIPTextModelWithProjection.from_pretrained(tmp_path / "tower").save_pretrained(tmp_path / "theirs")
    text.codec.save(tmp_path / "tokenizer")
    again = read_text(tmp_path / "theirs", tmp_path / "tokenizer")
    assert again.hash() == text.hash()
    ids = text.ids(CAPTIONS[:2])
    for one, other in zip(text.features(ids), again.features(ids), strict=True):
        assert torch.equal(one, other)

"""The same weights in open_clip: features, logits, both losses, and OpenAI's own vocabulary."""

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from makar.codecs.captions import Captions
from makar.families.clip.objective import sigmoid_losses, softmax_losses
from tests.families.clip.support import rows, tiny

ORACLE = Path(__file__).with_name("open_clip_oracle.py")
SPOKEN = ["A cat wearing sunglasses in space", "it's the 3rd  dog's   CAFÉ!?", "naïve — “quoted” 🐱 text 12345", ""]

pytestmark = pytest.mark.skipif(importlib.util.find_spec("open_clip") is None, reason="open_clip is not installed")


@pytest.fixture(scope="module")
def asked():
    model = tiny()
    with torch.no_grad():
        model.net.logit_scale += 0.3
    return model, rows(model)


@pytest.fixture(scope="module")
def answered(asked, tmp_path_factory):
    model, batch = asked
    folder, config = tmp_path_factory.mktemp("open_clip"), model.config
    shape = {
        "vision": {"layers": 3, "width": 48, "head_width": 12, "mlp_ratio": 4.0, "patch_size": 4, "image_size": 16},
        "text": {"context_length": 10, "vocab_size": config.text.vocab_size, "width": 32, "heads": 1, "layers": 2},
        "width": 24, "eos": 1, "quick_gelu": False, "captions": SPOKEN,
    }  # fmt: skip
    save_file({**model.net.state_dict(), **batch}, folder / "in", {"shape": json.dumps(shape)})
    subprocess.run([sys.executable, ORACLE, folder / "in", folder / "out"], check=True, timeout=100)
    return load_file(folder / "out")


def test_features_and_logits(asked, answered):
    model, batch = asked
    with torch.no_grad():
        seen, read = model.net(batch["images"], batch["tokens"])
    torch.testing.assert_close(seen, answered["seen"], atol=1e-4, rtol=0)
    torch.testing.assert_close(read, answered["read"], atol=1e-4, rtol=0)
    torch.testing.assert_close(model.net.logit_scale.exp() * seen @ read.T, answered["logits"], atol=1e-4, rtol=0)


def test_losses(asked, answered):
    scale, likeness = asked[0].net.logit_scale.detach(), answered["seen"] @ answered["read"].T
    nothing, bias = torch.zeros(()), torch.tensor(-2.0)
    torch.testing.assert_close(softmax_losses(likeness, scale, nothing).mean(), answered["softmax"], atol=1e-4, rtol=0)
    torch.testing.assert_close(sigmoid_losses(likeness, scale, bias).mean(), answered["sigmoid"], atol=1e-4, rtol=0)


def test_openais_own_vocabulary_gives_openais_ids(answered, tmp_path):
    """As a folder of old lays it down: the bytes, the bytes at a word's end, the merges, a start and an end."""
    place = Path(importlib.util.find_spec("open_clip").origin).with_name("bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(place.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n", encoding="utf-8")
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spoken = [chr(letter) for letter in letters] + [chr(256 + n) for n in range(256 - len(letters))]
    words = [*spoken, *(f"{one}</w>" for one in spoken), *("".join(line.split()) for line in lines)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    settings = {"pad_token": "!", "model_max_length": 24}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    codec = Captions.load(tmp_path)
    ours = codec.rows(SPOKEN)
    assert codec.vocab_size == 49408
    ours[(ours == codec.pad_id) & ((ours == codec.end_id).cumsum(1) > 0)] = 0  # where open_clip puts zeros
    assert torch.equal(ours, answered["ids"])

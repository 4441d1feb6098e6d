import numpy as np
import pytest
import torch
from PIL import Image

from makar.codecs.bpe import train_bpe
from makar.codecs.sight import sighted
from makar.core.nouns import Model
from makar.families.llava.config import LlavaConfig
from makar.families.llava.family import FAMILY

SHAPES = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"qkv_bias": True, "tie_word_embeddings": False},
    "qwen3": {"qk_norm": True},
}
"""What differs between the decoders that can be inside."""


@pytest.fixture(scope="session")
def codec():
    return sighted(train_bpe(["what is the cat wearing? sunglasses. how many? two. "] * 9, 300), 12)


@pytest.fixture(scope="session")
def make(codec):
    """Models with weights large enough that all parts matter."""

    def made(kind="llama", generation=None, **more):
        config = LlavaConfig.model_validate({
            "vision": {"hidden_size": 32, "num_hidden_layers": 3, "image_size": 16, "hidden_act": "quick_gelu"},
            "text": {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                     "max_position_embeddings": 128, **SHAPES[kind]},
            **more,
        })  # fmt: skip
        torch.manual_seed(0)
        net = FAMILY.build(config).eval()
        for name, weight in net.named_parameters():
            if "norm" not in name:
                torch.nn.init.normal_(weight, std=0.2)
        return Model(FAMILY, config, net, {"codec": codec}, generation or {"temperature": 0.0, "max_tokens": 12})

    return made


@pytest.fixture(scope="session")
def pictures():
    """Three of different shapes, one of them gray."""
    rng = np.random.default_rng(0)
    noise = [
        Image.fromarray(rng.integers(0, 256, (high, wide, 3), dtype=np.uint8)) for high, wide in ((20, 31), (16, 16))
    ]
    return [*noise, Image.fromarray(rng.integers(0, 256, (40, 17), dtype=np.uint8))]


@pytest.fixture(scope="session")
def talks(pictures):
    """One picture; two in one turn; one, and another in a later turn."""

    def seen(*images, text):
        return {
            "role": "user",
            "content": [*({"type": "image", "image": i} for i in images), {"type": "text", "text": text}],
        }

    one, two, three = pictures
    said = {"role": "assistant", "content": "sunglasses"}
    return [
        [seen(one, text="what is the cat wearing?")],
        [seen(one, two, text="how many?")],
        [
            {"role": "system", "content": "two"},
            seen(two, text="what?"),
            said,
            seen(three, text="and <|image_pad|> here?"),
        ],
    ]

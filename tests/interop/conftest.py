import pytest
import torch

from makar.codecs.bpe import SPECIAL, Bpe, train_bpe
from makar.core.nouns import Model
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.nets.config import Llama3Scaling
from makar.nets.decoder import Decoder

POEM = """The moon is a ghostly galleon, tossed upon cloudy seas;
The road was a ribbon of moonlight over the purple moor.
Der Mond ist aufgegangen, die goldnen Sternlein prangen.
床前明月光 疑是地上霜 — 1609, 2024 and 31.5%
x = [1, 22]\n\n\n    return x\r\n
"""

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

KINDS = {
    "llama": {"num_key_value_heads": 2},
    "llama untied": {"tie_word_embeddings": False, "rope_theta": 500_000.0},
    "llama with biases": {"attention_bias": True},
    "llama 3.1": {"rope_scaling": Llama3Scaling(factor=8.0, original_max_position_embeddings=8192)},
    "qwen2": {"qkv_bias": True, "num_key_value_heads": 1},
    "qwen3": {"qk_norm": True, "head_dim": 32, "num_key_value_heads": 2},
}


def pytest_generate_tests(metafunc):
    if "tiny" in metafunc.fixturenames:
        metafunc.parametrize("tiny", KINDS, indirect=True)


@pytest.fixture(scope="session")
def bpe() -> Bpe:
    made = train_bpe([POEM, POEM.upper()] * 3, 400)
    return Bpe(made.source, made.settings | {"chat_template": TEMPLATE}, [SPECIAL.index("<|im_end|>")])


def build(bpe: Bpe, **fields) -> Model:
    """A model whose biases and norms are no zeros and ones, so that a lost one shows."""
    shape = {"vocab_size": bpe.vocab_size + 3, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LanguageConfig(**(shape | {"intermediate_size": 96, "initializer_range": 0.3} | fields))
    torch.manual_seed(0)
    net = Decoder(config)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return Model(FAMILY, config, net, {"codec": bpe})


@pytest.fixture
def model(bpe) -> Model:
    return build(bpe, num_key_value_heads=2)


@pytest.fixture
def tiny(request, bpe) -> Model:
    return build(bpe, **KINDS[request.param])

"""What llama.cpp makes of our files: the same tokens, the same text, the same chat."""

import pytest
import torch

from makar.codecs.bpe import Bpe
from makar.codecs.chat import prompt_ids
from makar.codecs.template import TEMPLATE as OURS
from makar.codecs.template import ChatTemplate, template_of
from makar.core.nouns import Request
from makar.engine.run import Engine
from makar.families.language.settings import LanguageSettings
from makar.interop.gguf_write import write_gguf
from tests.interop.conftest import KINDS, POEM, build
from tests.interop.llama_cpp import LlamaCpp

pytest.importorskip("xllamacpp")

TOKENS = 256
MESSAGES = [
    {"role": "system", "content": "You write verse."},
    {"role": "user", "content": " The moon?\n"},
    {"role": "assistant", "content": "A galleon."},
    {"role": "user", "content": "Füße 月 🙂"},
]


def taught(bpe, length: int = 49, **fields):
    """A model that knows a text by heart, so that each next token is far ahead of the second: llama.cpp rounds."""
    model = build(bpe, **({"initializer_range": 0.05} | fields))
    ids = torch.tensor(bpe.ids(POEM * 8, start=False))
    steps = torch.optim.AdamW(model.net.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(80):
        places = torch.randint(len(ids) - length, (4, 1), generator=generator) + torch.arange(length)
        rows = ids[places]
        loss = torch.nn.functional.cross_entropy(model.net(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        steps.zero_grad()
        loss.backward()
        steps.step()
    return model


def greedy(model, ids: list[int]) -> list[int]:
    settings = LanguageSettings(temperature=0, max_tokens=TOKENS)
    return Engine(model).generate([Request(ids, settings=settings)])[0].info["ids"]


@pytest.fixture(scope="module")
def llama(bpe, tmp_path_factory):
    """A model, llama.cpp with it, a prompt and what ours makes of it."""
    model = taught(bpe, num_key_value_heads=2)
    path = tmp_path_factory.mktemp("llama") / "m.gguf"
    write_gguf(model, path)
    prompt = bpe.ids("The moon", start=False)
    return model, LlamaCpp(path), prompt, greedy(model, prompt)


def test_llama_cpp_writes_the_same_256_tokens(llama):
    _, peer, prompt, ours = llama
    assert len(ours) == TOKENS
    assert peer.greedy(prompt, TOKENS) == ours


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "llama"])
def test_llama_cpp_writes_the_same_256_tokens_for_every_kind(bpe, tmp_path, kind):
    model = taught(bpe, 161, **KINDS[kind])
    write_gguf(model, tmp_path / "m.gguf")
    prompt = bpe.ids("The moon", start=False)
    assert LlamaCpp(tmp_path / "m.gguf").greedy(prompt, TOKENS) == greedy(model, prompt)


@pytest.mark.parametrize(("precision", "same"), [("f16", 16), ("q8_0", 16), ("q4_0", 1)])
def test_llama_cpp_opens_every_precision(llama, tmp_path, precision, same):
    model, _, prompt, ours = llama
    write_gguf(model, tmp_path / "m.gguf", precision)
    assert LlamaCpp(tmp_path / "m.gguf").greedy(prompt, same) == ours[:same]


def texts(count: int) -> list[str]:
    """Texts of all kinds of characters, spellings of special tokens among them."""
    import random

    rng = random.Random(0)
    alphabets = [
        "abc DEF\n\t'",
        "0123 45.,!?-",
        "äßçñéÀ",
        "月亮はひ한",
        "🙂👩‍👩‍👧 ",
        "don't we'LL \r\n",
        "<|im_end|>",
        "\u00a0\u3000\u200b_",
    ]
    return ["".join(rng.choice(rng.choice(alphabets)) for _ in range(rng.randrange(1, 40))) for _ in range(count)]


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_llama_cpp_gives_texts_the_same_ids(llama, count):
    model, peer, *_ = llama
    for text in [*texts(count), "a <|im_end|> b", " ", "  \n  x"]:
        assert peer.ids(text) == model.parts["codec"].ids(text), repr(text)


def test_llama_cpp_renders_the_same_chat(llama):
    model, peer, *_ = llama
    codec = model.parts["codec"]
    rendered = peer.chat(MESSAGES)
    assert rendered == template_of(codec).render(MESSAGES, add_generation_prompt=True)
    assert peer.ids(rendered, special=True) == codec.start + prompt_ids(codec, template_of(codec), MESSAGES)


def test_llama_cpp_renders_our_own_template(bpe, tmp_path):
    write_gguf(build(Bpe(bpe.source, bpe.settings | {"chat_template": OURS})), tmp_path / "m.gguf")
    rendered = LlamaCpp(tmp_path / "m.gguf").chat(MESSAGES)
    assert rendered == ChatTemplate(OURS).render(MESSAGES, add_generation_prompt=True)

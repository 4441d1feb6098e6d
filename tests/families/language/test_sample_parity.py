"""Answers equal those of transformers, on folders that transformers wrote."""

import pytest
import torch
import transformers

from makar.codecs.bpe import SPECIAL, train_bpe
from makar.core.nouns import Request
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.language.settings import LanguageSettings

SHAPE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.4,
}  # fmt: skip
PROMPTS = ["The moon", "", "ünï 🌙 and then", "a much longer prompt than any of the others"]


def llama(**known):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, **known))


def mistral(**known):
    return transformers.MistralForCausalLM(transformers.MistralConfig(**SHAPE, sliding_window=9, **known))


def qwen2(**known):
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE, tie_word_embeddings=True, **known))


def qwen3(**known):
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE, head_dim=16, **known))


@pytest.fixture(scope="module", params=[llama, mistral, qwen2, qwen3])
def pair(request, tmp_path_factory):
    """A random model of transformers, and the folder that it was saved to as opened here."""
    folder = tmp_path_factory.mktemp("model")
    codec = train_bpe(["the moon and the sea"] * 5, len(SPECIAL) + 256 + 8)
    torch.manual_seed(1)
    theirs = request.param(vocab_size=codec.vocab_size, eos_token_id=codec.end_id, pad_token_id=codec.pad_id).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # norms and biases too, so that none of them could be left out unseen
            parameter.add_(torch.randn_like(parameter) * 0.1)
    theirs.save_pretrained(folder)
    codec.save(folder)
    return theirs, open_model(folder)


def ours(model, *, penalty: float = 1.0, count: int = 24) -> list[list[int]]:
    settings = LanguageSettings(temperature=0, max_tokens=count, repetition_penalty=penalty)
    answers = Engine(model).generate([Request(prompt, settings=settings) for prompt in PROMPTS])
    return [answer.info["ids"] for answer in answers]


def generated(theirs, model, *, penalty: float = 1.0, use_cache: bool = True, count: int = 24) -> list[list[int]]:
    """What `transformers.generate` writes after each prompt alone, up to the end token."""
    out = []
    for prompt in PROMPTS:
        ids = torch.tensor([model.parts["codec"].ids(prompt)])
        made = theirs.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count, use_cache=use_cache,
            repetition_penalty=penalty,
        )  # fmt: skip
        out.append(made[0, ids.shape[1] :].tolist())
    return out


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_answers_equal_transformers_token_for_token(pair, use_cache):
    theirs, model = pair
    expected = generated(theirs, model, use_cache=use_cache)
    assert ours(model) == expected
    assert all(len(set(ids)) > 3 for ids in expected), "a model that repeats itself proves little"


def test_greedy_answers_under_a_repetition_penalty_equal_transformers(pair):
    theirs, model = pair
    assert ours(model, penalty=1.7) == generated(theirs, model, penalty=1.7)


def test_one_padded_batch_of_transformers_gives_the_same(pair):
    theirs, model = pair
    codec = model.parts["codec"]
    prompts = [codec.ids(prompt) for prompt in PROMPTS]
    longest = max(map(len, prompts))
    ids = torch.tensor([[codec.pad_id] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    made = theirs.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=12)[:, longest:].tolist()
    cut = [row[: row.index(codec.end_id) + 1] if codec.end_id in row else row for row in made]
    assert ours(model, count=12) == cut

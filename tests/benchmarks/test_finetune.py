"""The benchmark's ways do the same work: from the same weights, the same losses as PEFT, step after step."""

import pytest
import torch

from benchmarks import finetune
from makar.nets.decoder import Decoder

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks transformers

TINY = finetune.SMOLLM2.model_copy(
    update={
        "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3,
        "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 64, "initializer_range": 0.1,
    }
)  # fmt: skip


@pytest.mark.parametrize("first", [0, 17])
def test_both_ways_lose_the_same(first):
    torch.manual_seed(0)
    base, tokens = Decoder(TINY).state_dict(), torch.randint(0, 300, (2, 33))
    batch = {"tokens": tokens, "loss_mask": (torch.arange(33) >= first).expand_as(tokens)}
    ours = finetune.ours(TINY, base, batch, "fp32", compiled=False)
    theirs = finetune.theirs(TINY, base, batch, "fp32")
    assert ours() == pytest.approx(theirs(), abs=1e-5)
    before = ours()
    for _ in range(20):
        last, other = ours(), theirs()
    assert last < before
    assert other < before


@pytest.mark.slow
def test_the_figures_are_there():
    found = finetune.run(1, 1, TINY, compiled=False)
    assert found["trained"] < found["parameters"] / 2
    for name in ("all", "answers"):
        assert set(found["learned"][name]["ratios"]) == {"makar_eager", "peer_fp32", "peer_bf16"}
        losses = found["learned"][name]["first_loss"].values()
        assert max(losses) - min(losses) < 0.01

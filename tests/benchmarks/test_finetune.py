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


def test_both_ways_lose_the_same():
    torch.manual_seed(0)
    base, tokens = Decoder(TINY).state_dict(), torch.randint(0, 300, (2, 33))
    ours = finetune.ours(TINY, base, {"tokens": tokens}, "fp32", compiled=False)
    theirs = finetune.theirs(TINY, base, tokens, "fp32")
    assert ours() == pytest.approx(theirs(), abs=1e-5)
    first = ours()
    for _ in range(20):
        last, other = ours(), theirs()
    assert last < first
    assert other < first


@pytest.mark.slow
def test_the_figures_are_there(monkeypatch):
    found = finetune.run(1, 1, TINY, compiled=False)
    assert set(found["ratios"]) == {"makar_eager", "peer_fp32", "peer_bf16"}
    assert max(found["first_loss"].values()) - min(found["first_loss"].values()) < 0.01
    assert found["trained"] < found["parameters"] / 2

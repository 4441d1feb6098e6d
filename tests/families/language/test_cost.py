import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from makar.core.nouns import Model
from makar.core.random import Rng
from makar.families.language.config import LanguageConfig
from makar.families.language.cost import cost
from makar.families.language.family import FAMILY
from makar.nets.attention import visible
from makar.nets.decoder import Decoder

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}
CASES = {
    "llama": {},
    "grouped, untied, wide heads": {"num_key_value_heads": 2, "tie_word_embeddings": False, "head_dim": 32},
    "biases": {"attention_bias": True},
    "qwen2": {"qkv_bias": True, "num_key_value_heads": 1},
    "qwen3": {"qk_norm": True, "num_key_value_heads": 2},
}


@pytest.fixture(params=CASES)
def config(request) -> LanguageConfig:
    return LanguageConfig(**SHAPE | CASES[request.param])


def test_parameters_are_counted_exactly(config):
    assert cost(config, 8).parameters == sum(p.numel() for p in Decoder(config).parameters())


def test_operations_are_those_that_torch_counts(config):
    net, tokens = Decoder(config), torch.randint(0, 300, (2, 33))
    model = Model(FAMILY, config, net)
    with FlopCounterMode(display=False) as counter:
        loss = FAMILY.objectives["next_token"]()(model, {"tokens": tokens}, "", Rng(0, 0, torch.arange(2)))
        loss.sum.backward()
    whole = counter.get_total_flops()
    attended = sum(n for op, n in counter.get_flop_counts()["Global"].items() if "attention" in str(op))
    # Torch counts fused attention as if nothing were masked, and one product more in its backward (five for two).
    pairs, products = 32 * 33 / 2, 6
    ours = products * 2 * pairs * config.num_attention_heads * config.head_dim * config.num_hidden_layers * 2
    assert 2 * cost(config, 32).flops == whole - attended + ours


def test_a_window_costs_what_it_shows():
    config = LanguageConfig(**SHAPE)
    for window in (1, 7, 20, 50):
        seen = visible(range(20), range(20), None, window, torch.device("cpu")).sum().item()
        narrow = cost(config.model_copy(update={"sliding_window": window}), 20).flops
        assert narrow == cost(config, 20).flops - 3 * 3 * 4 * (20 * 21 / 2 - seen) * 64


def test_bytes_kept_for_backward_are_those_that_autograd_keeps(config):
    net = Decoder(config)
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        net.model(torch.randint(0, 300, (4, 64)))
    assert 4 * cost(config, 64).activations == pytest.approx(sum(s.nbytes() for s in kept.values()), rel=0.05)

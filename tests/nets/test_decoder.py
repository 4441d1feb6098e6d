import math

import pytest
import torch

from makar.core.errors import InputError, ModelError
from makar.nets.cache import Cache
from makar.nets.config import DecoderConfig
from makar.nets.decoder import Decoder


def small(**fields) -> DecoderConfig:
    shape = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    return DecoderConfig(**shape | {"num_key_value_heads": 2, "max_position_embeddings": 64} | fields)


def made(seed: int = 0, **fields) -> Decoder:
    torch.manual_seed(seed)
    return Decoder(small(**fields)).eval()


def ids(rows: int, time: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 61, (rows, time), generator=torch.Generator().manual_seed(seed))


def test_a_later_token_changes_nothing_before_it():
    net, tokens = made(), ids(2, 20)
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % 61
    before, after = net(tokens), net(changed)
    assert torch.equal(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])


def test_documents_packed_in_a_row_give_what_each_gives_alone():
    net = made(sliding_window=5)
    first, second = ids(1, 9), ids(1, 7, seed=2)
    segments = torch.tensor([[0] * 9 + [1] * 7], dtype=torch.int32)
    packed = net(torch.cat((first, second), 1), segments)
    assert torch.allclose(packed[:, :9], net(first), atol=1e-5)
    assert torch.allclose(packed[:, 9:], net(second), atol=1e-5)  # although its rotary positions start at 9


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 6])
def test_reading_in_pieces_of_any_length_gives_the_same_logits(window):
    net, tokens = made(sliding_window=window), ids(2, 24)
    whole = net(tokens)
    cache = Cache.empty(net.config, 2, 32, torch.float32)
    pieces = []
    for piece in tokens.split([11, 1, 1, 5, 6], 1):
        pieces.append(net(piece, cache=cache))
        cache.lengths.add_(piece.shape[1])
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-5)


@torch.no_grad()
def test_padded_prompts_of_different_lengths_go_on_as_if_alone():
    net, tokens = made(), ids(3, 16)
    counts = torch.tensor([10, 3, 7])
    cache = Cache.empty(net.config, 3, 16, torch.float32)
    net(torch.where(torch.arange(10) < counts[:, None], tokens[:, :10], 60), cache=cache)
    cache.lengths.add_(counts)
    for _ in range(4):
        fresh = tokens.gather(1, cache.lengths[:, None])
        logits = net(fresh, cache=cache.upto(int(cache.lengths.max()) + 1))
        cache.lengths.add_(1)
        for row, length in enumerate(cache.lengths.tolist()):
            assert torch.allclose(logits[row, -1], net(tokens[row : row + 1, :length])[0, -1], atol=1e-5)


@torch.no_grad()
def test_rows_of_a_cache_leave_by_indexing():
    net, tokens = made(), ids(3, 9)
    cache = Cache.empty(net.config, 3, 12, torch.float32)
    net(tokens[:, :8], cache=cache)
    cache.lengths.add_(8)
    rest = Cache(cache.keys[[2, 0]], cache.values[[2, 0]], cache.lengths[[2, 0]])
    assert torch.allclose(net(tokens[[2, 0], 8:], cache=rest), net(tokens[[2, 0]])[:, 8:], atol=1e-5)


def test_a_context_longer_than_trained_is_refused_with_both_counts():
    with pytest.raises(InputError, match=r"65 tokens.*at most 64"):
        made()(ids(1, 65))


def test_a_net_without_a_vocabulary_is_refused():
    with pytest.raises(ModelError, match="vocab_size is 0"):
        made(vocab_size=0)


def test_fresh_weights_have_the_deviations_that_were_asked_for():
    net = made(hidden_size=256, num_hidden_layers=8, tie_word_embeddings=False, attention_bias=True)
    deviations = {name: float(p.detach().std()) for name, p in net.named_parameters() if p.dim() == 2}
    for name, found in deviations.items():
        wanted = 0.02 / (math.sqrt(16) if name.endswith(("o_proj.weight", "down_proj.weight")) else 1)
        assert found == pytest.approx(wanted, rel=0.05), name
    assert all(not p.any() for name, p in net.named_parameters() if name.endswith("bias"))
    uniform = math.log(61)
    loss = torch.nn.functional.cross_entropy(net(ids(8, 32)).detach().flatten(0, 1), ids(8, 32, seed=3).flatten())
    assert float(loss) == pytest.approx(uniform, rel=0.05)


def test_a_tied_head_is_one_matrix_and_one_name():
    tied, untied = made(tie_word_embeddings=True), made(tie_word_embeddings=False)
    assert set(untied.state_dict()) - set(tied.state_dict()) == {"lm_head.weight"}
    assert tied.output_weight is tied.model.embed_tokens.weight

import pytest
import torch

from makar.nets.cache import Cache
from makar.nets.config import DecoderConfig
from makar.nets.decoder import Decoder
from makar.nets.lora import BASE, adapter_parameters, answering, attach
from makar.nets.lora_config import LoraConfig
from makar.nets.reader import Reader

SHAPE = {
    "vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"qk_norm": True, "head_dim": 16},
        {"qkv_bias": True, "num_key_value_heads": 4},
        {"attention_bias": True, "tie_word_embeddings": False},
        {"sliding_window": 5, "num_key_value_heads": 1},
    ],
)
@torch.inference_mode()
def test_a_reader_gives_what_its_decoder_gives(fields):
    torch.manual_seed(0)
    net = Decoder(DecoderConfig(**SHAPE | fields))
    for parameter in net.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))  # norms and biases too
    reader, counts = Reader(net), torch.tensor([9, 1, 14])
    tokens = torch.randint(0, 61, (3, 24))
    theirs, ours = (Cache.empty(net.config, 3, 24, torch.float32) for _ in range(2))
    for cache in (theirs, ours):
        net(tokens[:, :14], cache=cache)
        cache.lengths.add_(counts)
    for _ in range(6):
        last = tokens.gather(1, ours.lengths[:, None])
        expected = net(last, cache=theirs)[:, 0]
        cut = ours.upto(int(ours.lengths.max()) + 1)
        assert torch.allclose(reader(last[:, 0], cut.keys, cut.values, cut.lengths), expected, atol=1e-5)
        assert torch.allclose(ours.keys, theirs.keys, atol=1e-5)
        assert torch.allclose(ours.values, theirs.values, atol=1e-5)
        for cache in (theirs, ours):
            cache.lengths.add_(1)


def test_a_reader_shares_the_embedding_and_copies_the_rest():
    net = Decoder(DecoderConfig(**SHAPE))
    reader = Reader(net)
    shared = {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in reader.parameters()}
    assert net.model.embed_tokens.weight.data_ptr() in shared
    assert net.model.layers[0].mlp.up_proj.weight.data_ptr() not in shared
    assert not any(
        p.requires_grad for name, p in reader.named_parameters() if name.endswith(("qkv.weight", "o.weight"))
    )


@pytest.mark.parametrize("dora", [False, True])
@torch.inference_mode()
def test_a_reader_holds_the_adapter_that_answers(dora):
    torch.manual_seed(0)
    net = Decoder(DecoderConfig(**SHAPE))
    attach(net, list(net.model.layers), LoraConfig(rank=4, dora=dora))
    for parameter in adapter_parameters(net, "default").values():
        parameter.add_(0.1 * torch.randn_like(parameter))
    tokens = torch.randint(0, 61, (3, 1))
    for names in ([None], [BASE]):
        with answering(net, names):
            theirs, ours = (Cache.empty(net.config, 3, 4, torch.float32) for _ in range(2))
            found = Reader(net)(tokens[:, 0], ours.keys, ours.values, ours.lengths)
            assert torch.allclose(found, net(tokens, cache=theirs)[:, 0], atol=1e-5)

import gc
import subprocess
import sys

import pytest
import torch

from makar.families.language import reading
from makar.families.language.config import LanguageConfig
from makar.families.language.reading import READINGS, plain, read, renew, room_for
from makar.nets.cache import Cache
from makar.nets.decoder import Decoder


def made(dtype=torch.float32) -> Decoder:
    config = LanguageConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, head_dim=16,
        initializer_range=0.3, max_position_embeddings=512,
    )  # fmt: skip
    torch.manual_seed(0)
    return Decoder(config).to(dtype)


@torch.inference_mode()
def written(net: Decoder, step, rows: int = 3, count: int = 6, longest: int = 200) -> torch.Tensor:
    """Logits of some steps after different beginnings."""
    cache = Cache.empty(net.config, rows, room_for(longest), net.output_weight.dtype)
    cache.lengths.copy_(torch.tensor([0, 60, 3, 40][:rows]))
    tokens = torch.arange(rows)
    found = []
    for _ in range(count):
        found.append(step(net, tokens, cache))
        tokens = found[0].argmax(-1)
        cache.lengths.add_(1)
    return torch.stack(found).float()


def quick(net, tokens, cache):
    return read(net, tokens, cache, 1)


def test_the_fast_way_gives_what_the_plain_way_gives():
    net = made()
    assert torch.allclose(written(net, quick), written(net, plain), atol=1e-5)
    assert READINGS[net].reader is not None


@torch.no_grad()
def change(net):
    net.model.norm.weight.mul_(2)


def reload(net):
    net.load_state_dict({name: 2 * weight for name, weight in net.state_dict().items()})


def replace(net):
    net.model.layers[0].mlp.up_proj.weight = torch.nn.Parameter(torch.randn(128, 32))


def swap(net):
    net.model.layers[0].mlp.down_proj.weight.data = torch.randn(32, 128)


@pytest.mark.parametrize("alter", [change, reload, replace, swap])
def test_weights_that_changed_are_laid_out_anew(alter):
    net = made()
    renew(net)
    kept = READINGS[net]
    assert renew(net) is kept
    alter(net)
    assert renew(net) is not kept
    assert torch.allclose(written(net, quick), written(net, plain), atol=1e-5)


def test_a_layout_goes_with_its_net():
    net = made()
    renew(net)
    before = len(READINGS)
    del net
    gc.collect()
    assert len(READINGS) == before - 1


def test_where_memory_is_short_the_net_reads_itself(monkeypatch):
    monkeypatch.setattr(reading, "memory_available", lambda device: 1000)
    net = made()
    assert torch.allclose(written(net, quick), written(net, plain), atol=1e-5)
    assert READINGS[net].reader is None


def test_only_bfloat16_is_compiled_and_only_when_it_pays(monkeypatch):
    asked = []
    monkeypatch.setattr(reading, "compiled", lambda reader, several: asked.append(several) or reader)
    for dtype in (torch.float32, torch.bfloat16):
        net = made(dtype)
        written(net, quick)
        found = READINGS[net]
        found.seconds, found.steps = reading.COMPILE_SECONDS - 1, 100
        written(net, quick, count=1)
        assert asked == []
        found.seconds, found.steps = reading.COMPILE_SECONDS / 2, 100
        written(net, lambda net, tokens, cache: read(net, tokens, cache, 99), count=1)
        assert asked == []
        written(net, lambda net, tokens, cache: read(net, tokens, cache, 110), count=1)
        assert asked == ([] if dtype == torch.float32 else [True])
        written(net, lambda net, tokens, cache: read(net, tokens, cache, 110), rows=1, count=1)
    assert asked == [True], "the time spent counts anew after compiling"


def compiled_equals_plain() -> None:
    """What the next test runs in a process of its own."""
    net = made(torch.bfloat16)
    with torch.inference_mode():
        found = renew(net)
        found.compiled = {several: reading.compiled(found.reader, several) for several in (False, True)}
    torch.compiler.set_stance("fail_on_recompile")
    for rows, longest in ((1, 200), (1, 128), (1, 511), (3, 200), (2, 128), (4, 511)):
        difference = written(net, quick, rows, longest=longest) - written(net, plain, rows, longest=longest)
        assert 0 < float(difference.abs().max()) < 0.1, (rows, longest, difference)


@pytest.mark.slow
def test_a_compiled_reader_gives_what_the_plain_one_gives_in_any_shape():
    """In a process of its own, for the compiler cannot see through the tests' type checks."""
    code = f"from {__name__} import compiled_equals_plain; compiled_equals_plain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

import itertools
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from makar.nets import attention
from makar.nets.attention import attend, attend_cached, fused, in_blocks


def drawn(heads: int, groups: int, time: int, rows: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(heads * 100 + time)
    shapes = ((rows, heads, time, 8), (rows, groups, time, 8), (rows, groups, time, 8))
    q, k, v = (torch.randn(shape, generator=generator) for shape in shapes)
    return q, k, v


def documents(time: int) -> Tensor:
    return torch.stack((torch.arange(time) // 5, (torch.arange(time) > time // 3).long())).int()


def by_hand(q, k, v, segments, window) -> Tensor:
    """The definition, one query at a time, in float64."""
    out = torch.zeros_like(q, dtype=torch.float64)
    share = q.shape[1] // k.shape[1]
    for row, head, here in itertools.product(*map(range, q.shape[:3])):
        seen = [
            there
            for there in range(here + 1)
            if (window is None or here - there < window)
            and (segments is None or segments[row, there] == segments[row, here])
        ]
        keys, values = (x[row, head // share, seen].double() for x in (k, v))
        out[row, head, here] = (keys @ q[row, head, here].double() / 8**0.5).softmax(0) @ values
    return out.float()


@pytest.mark.parametrize("window", [None, 1, 7, 100])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2), (3, 1)])
def test_every_way_is_the_definition(window, packed, heads, groups):
    q, k, v = drawn(heads, groups, 21)
    segments = documents(21) if packed else None
    wanted = by_hand(q, k, v, segments, window)
    for block in (4, 7, 21, 64):
        assert torch.allclose(in_blocks(q, k, v, segments, window, block=block), wanted, atol=1e-5)
    assert torch.allclose(fused(q, k, v, segments, window), wanted, atol=1e-5)


@pytest.mark.parametrize("window", [None, 150])
def test_ways_and_their_gradients_agree_over_several_blocks(window):
    leaves = [x.requires_grad_() for x in drawn(2, 1, 300)]
    segments = documents(300)
    slopes = []
    for way in (in_blocks, fused):
        out = way(*leaves, segments, window)
        slopes.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for ours, theirs in zip(*slopes, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("time", [1, 4])
def test_a_cache_sees_what_the_whole_row_sees(window, time):
    q, k, v = drawn(4, 2, 20)
    lengths = torch.tensor([20, 13])
    positions = lengths[:, None] - time + torch.arange(time)
    new = q.gather(2, positions[:, None, :, None].expand(2, 4, time, 8))
    found = attend_cached(new, k, v, positions, window)
    whole = fused(q, k, v, None, window).gather(2, positions[:, None, :, None].expand(2, 4, time, 8))
    assert torch.allclose(found, whole, atol=1e-5)


@pytest.mark.parametrize(
    ("compiling", "dtype", "packed", "way"),
    [
        (False, torch.bfloat16, True, "fused"),
        (True, torch.float32, False, "fused"),
        (True, torch.float32, True, "in_blocks"),
        (True, torch.bfloat16, False, "in_blocks"),
    ],
)
def test_each_case_goes_the_way_that_is_fastest_for_it(compiling, dtype, packed, way, monkeypatch):
    took: list[str] = []
    for each in (fused, in_blocks):
        monkeypatch.setattr(attention, each.__name__, lambda q, *_, name=each.__name__: took.append(name) or q)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    attend(*(x.to(dtype) for x in drawn(2, 2, 8)), documents(8) if packed else None)
    assert took == [way]


COMPILED = """
import torch
from makar.nets.config import DecoderConfig
from makar.nets.decoder import Decoder

torch.set_num_threads(1)
torch.manual_seed(0)
config = DecoderConfig(vocab_size=32, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
                       num_key_value_heads=2, sliding_window=150, max_position_embeddings=256)
net, tokens = Decoder(config), torch.randint(0, 32, (2, 200))
segments = (torch.arange(200) // 70).expand(2, 200)

def results():
    logits = net(tokens, segments)
    return [logits, *torch.autograd.grad(logits.square().sum(), list(net.parameters()))]

eager = results()
for layer in net.model.layers:
    layer.compile(fullgraph=True)
for ours, theirs in zip(results(), eager, strict=True):
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
"""


@pytest.mark.slow
def test_compiled_blocks_are_whole_graphs_and_give_the_same_logits_and_gradients():
    """In a process of its own: the type checks of the tests would break the graphs."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True, timeout=300)


HALF = """
import torch
from makar.nets.attention import attend
from makar.nets.config import DecoderConfig
from makar.nets.rope import rotate, rotation

turn = rotation(torch.arange(128)[None], DecoderConfig(hidden_size=64, num_hidden_layers=1))
makers = [(torch.randn(64, 64) / 16).requires_grad_() for _ in range(3)]

def keyed(x, to_queries, to_keys, to_values):
    q, k, v = ((x @ w).unflatten(-1, (-1, 64)).transpose(1, 2) for w in (to_queries, to_keys, to_values))
    return attend(rotate(q, turn), rotate(k, turn), v)

with torch.autocast("cpu", torch.bfloat16):
    x = torch.randn(2, 128, 64)
    ours, theirs = (f(x, *makers).float().square().sum() for f in (torch.compile(keyed), keyed))
for one, other in zip(torch.autograd.grad(ours, makers), torch.autograd.grad(theirs, makers), strict=True):
    assert (one - other).norm() < 0.1 * other.norm()
"""


@pytest.mark.slow
def test_compiled_in_half_precision_every_gradient_is_right():
    """The keys' was not finite once, through the backward of a cat."""
    subprocess.run([sys.executable, "-c", HALF], check=True, timeout=300)

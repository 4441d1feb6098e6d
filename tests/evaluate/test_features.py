"""Networks that come from elsewhere: what they see, and what is refused."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from makar.core.errors import ModelError, ResourceError
from makar.evaluate.features import LITE_FILE, efficientnet_lite


def test_a_network_that_has_learned_tells_pictures_apart():
    """Stripes and dots, gray: two pictures of one kind, moved, are seen nearer to each other than the two kinds."""
    at = torch.arange(32)
    stripes = ((at // 4) % 2 * 255).expand(1, 32, 32)
    dots = ((at // 4) % 2 * ((at // 4) % 2)[:, None] * 255).expand(1, 32, 32)
    pictures = torch.stack([stripes, stripes.roll(2, 2), dots, dots.roll(2, 2)]).to(torch.uint8)
    network = efficientnet_lite()
    seen = network.of(pictures)
    assert (network.name, seen.shape) == ("FD-efficientnet-lite", (4, 1280))
    apart = torch.cdist(seen, seen)
    assert max(apart[0, 1], apart[2, 3]) < apart[:2, 2:].min()


def test_without_the_package_its_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"makar\[features\]"):
        efficientnet_lite()


@pytest.mark.parametrize("content", [None, b"other weights"])
def test_other_weights_are_refused_unread(monkeypatch, tmp_path, content):
    origin = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: origin)
    if content is not None:
        (tmp_path / "models").mkdir()
        (tmp_path / LITE_FILE[1]).write_bytes(content)
    with pytest.raises(ModelError, match="not the weights"):
        efficientnet_lite()

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from makar.codecs.pixels import to_picture, to_values
from makar.core.errors import InputError, ResourceError


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_every_picture_comes_back(channels, mode):
    shape = (5, 6, channels) if channels > 1 else (5, 6)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert picture.mode == mode
    values = to_values(picture, channels)
    assert values.shape == (channels, 5, 6)
    assert values.min() >= -1
    assert values.max() <= 1
    assert to_picture(values) == picture


def test_what_lies_beyond_is_cut():
    assert list(to_picture(torch.tensor([[[-9.0, -1.0, 0.0, 1.0, 9.0]]])).tobytes()) == [0, 0, 128, 255, 255]


def test_a_colour_picture_becomes_grey_where_grey_is_wanted():
    assert to_values(Image.new("RGB", (3, 2), (255, 255, 255)), 1).tolist() == [[[1.0] * 3] * 2]


def test_what_is_no_picture_is_refused():
    with pytest.raises(InputError, match="another shape"):
        to_values(torch.zeros(2, 4, 4), 3)
    with pytest.raises(InputError, match="not a picture"):
        to_values("x.png", 3)
    with pytest.raises(InputError, match="so many channels"):
        to_picture(torch.zeros(2, 4, 4))


def test_without_pillow_the_way_out_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ResourceError, match="makar\\[images\\]"):
        to_picture(torch.zeros(1, 2, 2))

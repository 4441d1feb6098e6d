"""Small pictures that are drawn for tests."""

import io
import struct

import numpy as np
from PIL import Image


def noise(seed, side=40, mode="RGB"):
    """A smooth random picture, unlike any of another seed."""
    rng = np.random.default_rng(seed)
    bands = len(Image.new(mode, (1, 1)).getbands())
    coarse = rng.integers(0, 256, (6, 6, bands), np.uint8)
    channels = [Image.fromarray(coarse[:, :, band]) for band in range(bands)]
    return Image.merge(mode, channels).resize((side, side), Image.Resampling.BICUBIC)


def file_of(image, kind="PNG", **settings):
    """The bytes of a picture's file."""
    memory = io.BytesIO()
    image.save(memory, kind, **settings)
    return memory.getvalue()


def idx(array):
    """An array of bytes as IDX."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()

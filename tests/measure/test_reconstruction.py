"""What is said of pictures that came back, by arithmetic."""

import math

import pytest
import torch

from makar.measure.reconstruction import perplexity, psnr, used


def test_noise_by_hand():
    """One level of 255 everywhere is 48.13 dB; black for white is 0."""
    image = torch.zeros(1, 3, 4, 4)
    assert float(psnr(image, image + 2 / 255)) == pytest.approx(20 * math.log10(255), abs=1e-3)
    assert float(psnr(image - 1, image + 1)) == pytest.approx(0, abs=1e-6)
    assert float(psnr(image, image)) == pytest.approx(100)


def test_what_no_file_could_hold_is_not_counted():
    image = torch.ones(1, 1, 2, 2)
    assert float(psnr(image, image + 5)) == pytest.approx(100)


def test_each_picture_has_its_own():
    image = torch.zeros(2, 1, 2, 2)
    again = torch.stack((image[0], image[1] + 1))
    first, second = psnr(image, again).tolist()
    assert first > second


def test_codes_are_counted():
    assert perplexity(torch.arange(8), 16) == pytest.approx(8)
    assert used(torch.arange(8).view(2, 4), 16) == 0.5
    skewed = torch.tensor([0, 0, 0, 1])
    assert perplexity(skewed, 2) == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))

from dataclasses import replace

import pytest
import torch

from makar.core.device import Machine
from makar.train.precision import autocast, choose
from tests.contract.support import settings, train

MACHINE = Machine("cpu", "x", 1, 1, "x", fp32=1.0, bf16=2.0, bf16_gain=2.0)


def test_auto_follows_the_probe_and_nothing_else_does():
    assert choose("auto", MACHINE) == "bf16"
    assert choose("auto", replace(MACHINE, bf16_gain=1.05)) == "fp32"
    assert choose("auto", None) == "fp32"
    assert choose("fp32", MACHINE) == "fp32"
    assert choose("bf16", replace(MACHINE, bf16_gain=0.1)) == "bf16"


def test_products_are_bf16_and_weights_stay_fp32():
    layer = torch.nn.Linear(4, 4)
    with autocast(torch.device("cpu"), "bf16"):
        assert layer(torch.zeros(1, 4)).dtype == torch.bfloat16
    with autocast(torch.device("cpu"), "fp32"):
        assert layer(torch.zeros(1, 4)).dtype == torch.float32


@pytest.mark.parametrize("name", ["language-next_token", "toy-diffusion-denoise", "toy-gan-relativistic"])
def test_bf16_learns_what_fp32_learns(tmp_path, name):
    family, objective = name.rsplit("-", 1)
    model, low = train(family, objective, tmp_path / "bf16", settings(20, precision="bf16"))
    _, full = train(family, objective, tmp_path / "fp32", settings(20))
    assert {p.dtype for p in model.net.parameters()} == {torch.float32}
    key = next(k for k in full[0] if k.endswith("loss"))
    assert [line[key] for line in low] != [line[key] for line in full]
    assert [line[key] for line in low] == pytest.approx([line[key] for line in full], rel=0.05)

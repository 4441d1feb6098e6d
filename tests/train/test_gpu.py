"""The same promises on an accelerator."""

import pytest
import torch

from tests.contract.support import Killed, equal_weights, fresh, killer, losses, settings, train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


def on_cuda(seed=0):
    model = fresh("language", seed)
    model.net.to("cuda")
    return model


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_cuda_learns_what_the_cpu_learns_and_resumes_to_the_bit(tmp_path, name):
    config = settings(12, ema_halflife=4, micro_batch_size=8, optimizer={"name": name, "learning_rate": 1e-3})
    _, cpu = train("language", "next_token", tmp_path / "cpu", config)
    model, lines = train("language", "next_token", tmp_path / "whole", config, model=on_cuda())
    assert [line["loss"] for line in lines] == pytest.approx([line["loss"] for line in cpu], rel=1e-2)
    with pytest.raises(Killed):
        train("language", "next_token", tmp_path / "killed", config, model=on_cuda(), watches=[killer(8)])
    again, resumed = train("language", "next_token", tmp_path / "killed", config, model=on_cuda(seed=1))
    assert losses(resumed) == losses(lines)
    assert equal_weights(again, model)

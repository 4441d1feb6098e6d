"""Small nets that are trained once: each learns by its own record, and a killed training goes on."""

import os
import signal

import pytest
import torch

from makar.evaluate.classifier import CLASSIFIER
from makar.evaluate.judge import JUDGE
from makar.evaluate.kept import kept

FAMILIES = pytest.mark.parametrize("family", [CLASSIFIER, JUDGE], ids=lambda family: family.name)


class Killed:
    """Rows, and a signal at the third step."""

    def __init__(self, source):
        self.source = source

    def batch(self, step, size):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return self.source.batch(step, size)


def train(family, source, place, said, steps=4):
    config, _ = family.tiny()
    return kept(
        family, config, source, "a net", beside=place / "net", knows={"rows": 0},
        steps=steps, batch_size=4, say=said.append,
    )  # fmt: skip


@FAMILIES
def test_a_killed_training_goes_on_and_ends_the_same(family, tmp_path):
    _, source = family.tiny()
    whole, said = train(family, source, tmp_path / "whole", []), []
    with pytest.raises(KeyboardInterrupt):
        train(family, Killed(source), tmp_path / "cut", said)
    assert [path.name.endswith("-training") for path in (tmp_path / "cut").iterdir()] == [True]
    done = train(family, source, tmp_path / "cut", said)
    assert said == ["training a net, once: 4 steps"] * 2
    for one, two in zip(whole.net.state_dict().values(), done.net.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    (place,) = (tmp_path / "cut").iterdir()
    assert place.name == next((tmp_path / "whole").iterdir()).name


@FAMILIES
def test_it_learns_and_says_what_it_costs(family, tmp_path):
    config, source = family.tiny()
    model = train(family, source, tmp_path, [], steps=20)
    batch = source.batch(0, 8)
    said = model.net(batch["images"])
    for name, logits in said.items() if isinstance(said, dict) else [("label", said)]:
        assert torch.equal(logits.argmax(1), batch[name])
    count = sum(weight.numel() for weight in model.net.parameters())
    assert family.cost(config, 1).parameters == count

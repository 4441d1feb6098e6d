import subprocess
import sys

import pytest

from makar.core.config import parse
from makar.core.errors import RecipeError
from makar.train.config import Constant, TrainConfig, Wsd

LEAST = {"steps": 10, "batch_size": 4}


def test_settings_import_no_torch():
    code = "import makar.train.config, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unions_are_picked_by_name():
    assert isinstance(parse(TrainConfig, LEAST | {"schedule": {"name": "wsd", "decay": 0.3}}, "x").schedule, Wsd)
    assert isinstance(parse(TrainConfig, LEAST | {"schedule": {"name": "constant"}}, "x").schedule, Constant)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"steps": 0}, "steps"),
        ({"batch_size": -1}, "batch_size"),
        ({"micro_batch_size": 0}, "micro_batch_size"),
        ({"clip_norm": 0}, "clip_norm"),
        ({"stepps": 3}, "did you mean 'steps'"),
        ({"optimizer": {"learning_rate": -1}}, "optimizer.learning_rate"),
        ({"optimizer": {"name": "mun"}}, "'adamw' or 'muon'"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, "betas"),
        ({"schedule": {"name": "wsd", "decai": 0.1}}, "did you mean 'decay'"),
        ({"schedule": {"name": "cosine", "warmup": 1.5}}, "warmup"),
        ({"precision": "fp16"}, "precision"),
        ({"ema_halflife": 0}, "ema_halflife"),
        ({"ema_lengths": [0.3]}, "ema_lengths"),
        ({"ema_lengths": [0.1, 0.1]}, "each length once"),
        ({"patience": 0}, "patience"),
    ],
)
def test_a_bad_value_is_named(bad, said):
    with pytest.raises(RecipeError) as fault:
        parse(TrainConfig, LEAST | bad, "recipe.toml")
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)

"""What a folder holds, and what is said of a damaged one."""

import json

import pytest
import torch

from makar.core.errors import ModelError
from makar.core.nouns import Request
from makar.core.tensors import load_tensors, save_tensors
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.gan.family import FAMILY
from makar.families.gan.objective import Relativistic
from makar.train.checkpoint import newest
from makar.train.config import Optimizer, TrainConfig
from makar.train.loop import fit


def saved(model, folder):
    folder.mkdir()
    FAMILY.folder.save(model, folder)
    return folder


def test_a_folder_is_a_config_and_the_weights_of_both_players(model, tmp_path):
    folder = saved(model, tmp_path / "model")
    assert sorted(file.name for file in folder.iterdir()) == ["config.json", "model.safetensors"]
    again = open_model(folder)
    assert again.config == model.config
    asked = [Request("bag", seed=4)]
    assert Engine(again).generate(asked)[0].data == Engine(model).generate(asked)[0].data
    assert {name.split(".")[0] for name in load_tensors(folder / "model.safetensors")} == {
        "generator", "critic", "augment_share",
    }  # fmt: skip


def test_what_is_saved_and_sampled_is_the_average(tmp_path):
    config, source = FAMILY.tiny()
    torch.manual_seed(0)
    from makar.core.nouns import Model

    model = Model(FAMILY, config, FAMILY.build(config))
    train = TrainConfig(
        steps=6,
        batch_size=8,
        ema_halflife=3,
        optimizer=Optimizer(learning_rate=1e-2),
        checkpoint_steps=6,
        compile="off",
    )
    fit(model, source, Relativistic(), train, seed=0, folder=tmp_path)
    held = newest(tmp_path / "checkpoints", print)
    assert held is not None
    weights = load_tensors(saved(model, tmp_path / "model") / "model.safetensors")
    for name, tensor in weights.items():
        if name != "augment_share":
            assert torch.equal(tensor, held.tensors[f"average/{name}"])
    assert any(not torch.equal(tensor, held.tensors[f"net/{name}"]) for name, tensor in weights.items())


def test_a_folder_of_another_precision_opens(model, tmp_path):
    folder = saved(model, tmp_path / "model")
    file = folder / "model.safetensors"
    save_tensors(file, {name: tensor.half() for name, tensor in load_tensors(file).items()})
    assert open_model(folder).net.generator.basis.dtype == torch.float32


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda plain: plain["net"].update(sample_size=9), "multiple"),
        (lambda plain: plain["net"].update(latent_size=7), "another shape"),
        (lambda plain: plain["net"].update(kind="style2"), "did you mean"),
        (lambda plain: plain.update(generation=[1]), "not a table"),
        (lambda plain: plain.update(classes=["coat"]), "as many classes"),
    ],
)
def test_damage_is_said_in_one_line(model, tmp_path, harm, said):
    folder = saved(model, tmp_path / "model")
    plain = json.loads((folder / "config.json").read_text())
    harm(plain)
    (folder / "config.json").write_text(json.dumps(plain))
    with pytest.raises(ModelError, match=said) as fault:
        open_model(folder)
    assert "\n" not in str(fault.value)


def test_missing_and_foreign_weights_are_refused(model, tmp_path):
    folder = saved(model, tmp_path / "model")
    file = folder / "model.safetensors"
    whole = load_tensors(file)
    save_tensors(file, {name: tensor for name, tensor in whole.items() if name != "generator.basis"})
    with pytest.raises(ModelError, match=r"generator\.basis"):
        open_model(folder)
    save_tensors(file, whole | {"generator.basis": torch.zeros(8, 4, 4, dtype=torch.int64)})
    with pytest.raises(ModelError, match="floating point"):
        open_model(folder)
    file.unlink()
    with pytest.raises(ModelError, match="missing"):
        open_model(folder)

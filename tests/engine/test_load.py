import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from makar.codecs.bpe import SPECIAL, train_bpe
from makar.core.errors import ModelError
from makar.core.nouns import Model, Request
from makar.engine.load import STAGES, find_model, open_model
from makar.engine.run import Engine
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.families.language.settings import LanguageSettings
from makar.nets.decoder import Decoder


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A run named `first` with a tiny finished model, under the current folder."""
    monkeypatch.chdir(tmp_path)
    codec = train_bpe(["the moon"], len(SPECIAL) + 256)
    config = LanguageConfig(vocab_size=codec.vocab_size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    torch.manual_seed(0)
    path = tmp_path / "runs" / "first" / "model"
    path.mkdir(parents=True)
    (path.parent / "recipe.toml").write_text("family = 'language'\n")
    FAMILY.folder.save(Model(FAMILY, config, Decoder(config), {"codec": codec}), path)
    return path


def answer(model: Model) -> str:
    settings = LanguageSettings(temperature=0, max_tokens=8)
    return Engine(model).generate([Request("the", settings=settings)])[0].info["ids"]


def test_a_model_opens_by_its_folder_its_run_or_its_runs_name(folder):
    ids = answer(open_model(folder))
    for path in (str(folder), folder.parent, "runs/first", "first", Path("first")):
        assert answer(open_model(path)) == ids


def rewrite(path: Path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def lengthen(folder: Path) -> None:
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"\0" * 100)


def drop(folder: Path) -> None:
    rewrite(folder / "model.safetensors", lambda tensors: tensors.pop("model.norm.weight"))


def add(folder: Path) -> None:
    rewrite(folder / "model.safetensors", lambda tensors: tensors.update(extra=torch.zeros(3)))


def widen(folder: Path) -> None:
    rewrite(folder / "model.safetensors", lambda tensors: tensors.update({"model.norm.weight": torch.ones(17)}))


def other(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "t5"}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "tensor file is damaged"),
        (lengthen, "tensor file is damaged"),
        (drop, "missing, first 'model.norm.weight'"),
        (add, "config does not know, first 'extra'"),
        (widen, r"'model.norm.weight' has another shape.*\(got \(17,\)\); the config wants \(16,\)"),
        (other, r"no family knows this kind of model \(got 't5'\); makar opens models of these families: language"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json: not valid JSON"),
        (lambda folder: (folder / "tokenizer.json").write_text("[]"), "not a tokenizer"),
        (lambda folder: [file.unlink() for file in folder.iterdir()], "holds no model"),
    ],
)
def test_a_damaged_folder_is_one_line_that_says_where(folder, damage, said):
    damage(folder)
    with pytest.raises(ModelError, match=said) as caught:
        open_model(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_model_is_said(folder, tmp_path):
    with pytest.raises(ModelError, match="frist: no such model or run; did you mean 'first'"):
        open_model("frist")
    with pytest.raises(ModelError, match="elsewhere: no such model or run; name a model folder"):
        open_model("elsewhere")
    with pytest.raises(ModelError, match="is a file, not a model folder"):
        open_model(folder / "config.json")
    unfinished = tmp_path / "runs" / "second"
    unfinished.mkdir()
    (unfinished / "recipe.toml").write_text("")
    with pytest.raises(ModelError, match="second: this run has no finished model yet; run its"):
        open_model("second")


def test_a_chain_of_stages_opens_as_its_last_finished_one(folder):
    chain = folder.parents[1] / "chain"
    chain.mkdir()
    (chain / STAGES).write_text(json.dumps(["pretrain", "sft", "rlhf"]))
    with pytest.raises(ModelError, match="no finished model yet|no such|holds no model"):
        open_model("chain")
    (chain / "pretrain").symlink_to(folder.parent)
    (chain / "rlhf").mkdir()
    (chain / "rlhf" / "recipe.toml").write_text("family = 'language'\n")
    assert find_model(Path("chain")) == Path("runs/chain/pretrain/model")
    (chain / "sft" / "model").mkdir(parents=True)
    for file in folder.iterdir():
        (chain / "sft" / "model" / file.name).symlink_to(file)
    assert find_model(Path("chain")) == Path("runs/chain/sft/model")

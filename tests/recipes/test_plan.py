"""What a plan says: by arithmetic where that can be known, measured where it cannot, and true of what then happens."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from makar.codecs.bpe import train_bpe
from makar.core.device import Machine
from makar.core.errors import RecipeError, ResourceError
from makar.core.nouns import Model
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.recipes import pace, space
from makar.recipes.load import load_recipe
from makar.recipes.plan import plan
from makar.recipes.run import Run
from makar.recipes.text import open_dataset, text_rows


@pytest.fixture
def planned(tiny, workspace):
    def planned(*sets):
        file = tiny(*sets)
        return plan(file, "tiny", workspace)

    return planned


def test_free_memory_is_what_there_is_now_and_not_what_was_stored(monkeypatch):
    stored = Machine("cpu", "x", 1, 7, "2", fp32=1.0, bf16=1.0, bf16_gain=1.0)
    monkeypatch.setattr(space, "memory", lambda device: 10**12)
    monkeypatch.setattr(space, "memory_available", lambda device: 5 * 10**9)
    assert space.memory_free(stored) == 5 * 10**9 + space.resident()
    monkeypatch.setattr(space, "memory", lambda device: 10**9)
    assert space.memory_free(stored) == 10**9


def test_counts_are_arithmetic(planned):
    found = planned("train.steps=50")
    embedding, matrices = 288 * 16, 4 * 16 * 16 + 3 * 16 * 64
    assert found.parameters == embedding + matrices + 3 * 16
    assert found.units == ("tokens", 50 * 4 * 24)
    assert found.memory["weights"] == found.memory["gradients"] == 4 * found.parameters
    assert found.memory["optimizer"] == 8 * found.parameters
    assert found.memory["average"] == 0
    assert found.disk["checkpoints"] == 4 * 12 * found.parameters
    assert found.flops > 6 * matrices * found.units[1]
    assert found.epochs is None
    assert found.fits


def test_the_disk_holds_the_data_that_are_still_to_be_made(planned, tiny, workspace, corpus):
    text = corpus.stat().st_size
    found = planned().disk
    assert found["dataset"] == int(1.5 * text)
    assert found["tokens"] == text
    assert planned("data.collect.limit_bytes=5000").disk["tokens"] == 5000
    (recipe,) = tiny().stages.values()
    dataset = open_dataset(recipe.data, workspace, print)
    collected = sum(path.stat().st_size for path in dataset.path.rglob("*") if path.is_file())
    assert planned().disk["dataset"] == 0
    forecast = planned().disk["tokens"]
    text_rows(recipe.data, None, 288, seed=recipe.seed, workspace=workspace, say=print)
    made = sum(path.stat().st_size for path in dataset.path.rglob("*") if path.is_file()) - collected
    assert made / 4 < forecast, "a vocabulary of 288 packs next to nothing"
    assert planned().disk["tokens"] == 0


def test_memory_follows_the_recipe(planned):
    base = planned().memory
    assert planned("train.ema_halflife=10").memory["average"] == base["weights"]
    matrices = 4 * (4 * 16 * 16 + 3 * 16 * 64)
    assert planned("train.optimizer.name=muon").memory["optimizer"] == base["optimizer"] - matrices
    quarter = planned("train.micro_batch_size=1", "train.precision=fp32").memory["activations"]
    assert 4 * quarter == pytest.approx(planned("train.precision=fp32").memory["activations"], rel=0.01)
    deep = ("model.num_hidden_layers=8", "train.precision=fp32")
    assert planned(*deep, "train.recompute=true").memory["activations"] < planned(*deep).memory["activations"] / 3


def test_a_vocabulary_takes_memory_whatever_the_rows(planned):
    few, many = (planned("model.tie_word_embeddings=false", f"model.vocab_size={size}").memory for size in (288, 9288))
    assert many["loss"] - few["loss"] == 9000 * 4 * (3 * 256 + 16)  # three chunks of logits; one more of the matrix
    assert planned("train.batch_size=64").memory["loss"] == planned().memory["loss"]


def test_samples_are_read_with_a_copy_of_all_matrices_but_the_embedding(planned):
    tied, untied = (planned(f"model.tie_word_embeddings={tie}").memory for tie in ("true", "false"))
    assert tied["reader"] == untied["reader"] == 4 * (288 * 16 + 4 * 16 * 16 + 3 * 16 * 64)
    assert untied["weights"] - tied["weights"] == 4 * 288 * 16


def test_nothing_is_written_and_no_randomness_is_used(planned, workspace):
    before = torch.get_rng_state()
    planned()
    assert torch.equal(torch.get_rng_state(), before)
    assert not workspace.runs.exists()
    assert not workspace.data.exists()


@pytest.mark.parametrize(
    ("field", "said"), [("free_memory", r"not enough memory.*GB free"), ("free_disk", r"not enough disk.*--run")]
)
def test_what_does_not_fit_is_refused(planned, field, said):
    found = replace(planned(), **{field: 10})
    assert not found.fits
    with pytest.raises(ResourceError, match=said) as caught:
        found.refuse()
    assert caught.value.exit_code == 2


def test_what_does_not_fit_is_not_tried(planned, monkeypatch):
    monkeypatch.setattr("makar.recipes.plan.memory_free", lambda machine: 10)
    monkeypatch.setattr("makar.recipes.plan.step_seconds", lambda *_: pytest.fail("the probe ran"))
    assert "not measured" in planned().text


def test_the_text_says_all_of_it(planned):
    text = planned().text
    for words in ("parameters", "tokens", "memory", "disk", "GB free", "s a step"):
        assert words in text


def test_a_long_step_is_drawn_out_from_two_short_ones(planned, monkeypatch):
    sizes = []

    def line(setting, batch):
        sizes.append(len(batch["tokens"]))
        return 0.5 + 0.25 * len(batch["tokens"])

    monkeypatch.setattr(pace, "pace", line)
    monkeypatch.setattr(pace, "WHOLE_STEP", 0.0)
    assert planned("train.batch_size=1").step_seconds == 0.75
    monkeypatch.setattr(pace, "WHOLE_STEP", 1e6)
    assert planned("train.batch_size=64").step_seconds == 0.5 + 0.25 * 64
    sizes.clear()
    monkeypatch.setattr(pace, "rows_in", lambda *_: 8)
    assert planned("train.batch_size=64").step_seconds == pytest.approx(0.5 + 0.25 * 64)
    assert sizes == [8, 4]


@pytest.mark.parametrize(
    ("compile", "step", "steps", "compiled"),
    [("auto", 1.0, 10_000, True), ("auto", 0.1, 100, False), ("on", 0.1, 100, True), ("off", 1.0, 10_000, False)],
)
def test_time_counts_the_compiler_and_the_looks(tiny, compile, step, steps, compiled):
    sets = [f"train.steps={steps}", f"train.compile={compile}", f"watch.validate_every={steps}"]
    (recipe,) = tiny(*sets, "watch.validate_rows=12", "train.batch_size=4").stages.values()
    found, seconds = pace.forecast(recipe, [torch.nn.Linear(1, 1)], step)
    looks = 12 / 4 * step / 3
    expected = steps * step / pace.COMPILE_GAIN + pace.COMPILE_SECONDS if compiled else steps * step
    assert found == compiled
    assert seconds == pytest.approx(expected + looks)


def test_a_stage_is_planned_through_what_it_begins_from(tiny, workspace):
    text = """
[stages.a]
data = {{ sources = ["{corpus}"], length = 16 }}
model = {{ family = "language", vocab_size = 300, hidden_size = 16, num_hidden_layers = 1 }}
train = {{ steps = 2, batch_size = 2 }}
[stages.b]
init = "@a"
data = {{ sources = ["{corpus}"], length = 16 }}
train = {{ steps = 2, batch_size = 2 }}
"""
    file = tiny(name="chain", text=text)
    first, second = (plan(file, f"chain/{name}", workspace) for name in "ab")
    assert first.parameters == second.parameters
    with pytest.raises(RecipeError, match=r"data\.length"):
        plan(tiny("stages.b.data.length=32", name="chain", text=text), "chain/b", workspace)
    with pytest.raises(RecipeError, match="next_token"):
        plan(tiny("stages.b.objective.name=next_tokens", name="chain", text=text), "chain/b", workspace)


def test_resident_memory_is_this_process():
    before = space.resident()
    held = torch.ones(50_000_000)
    assert space.resident() - before == pytest.approx(held.nbytes, rel=0.1)


BIG = ["model.hidden_size=256", "model.num_hidden_layers=6", "model.num_attention_heads=4", "model.vocab_size=2048"]
BIG += ["data.length=256", "data.collect.valid_fraction=0.1", "watch.validate_rows=4", "train.steps=2"]


TUNED = """
init = "big"
data = {{ sources = ["{corpus}"], length = 256, documents = false, collect = {{ valid_fraction = 0.1 }} }}
adapter = {{ rank = 16 }}
train = {{ steps = 3, batch_size = 4, precision = "fp32" }}
watch = {{ validate_rows = 4, sample_every = 1 }}
sample = {{ max_tokens = 4 }}
"""


def happens(folder, *words):
    """The gigabytes that were planned for a run and what it took, each in a process of its own."""
    command = [sys.executable, "-m", "makar", "train", "tiny.toml", "--quiet", *words]
    subprocess.run(command, cwd=folder, check=True)
    manifest = Run(folder / "runs/tiny").manifest
    return sum(manifest["plan"]["memory"].values()) / 1e9, manifest["outcome"]["peak_memory"] / 1e9


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_of_an_adapter_over_a_large_vocabulary_is_what_then_happens(tiny, corpus, tmp_path):
    """A third of SmolLM2-135M's layers, and all of its vocabulary."""
    codec = train_bpe([corpus.read_text()], 300)
    config = LanguageConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=10, num_attention_heads=9
    )
    (tmp_path / "big").mkdir()
    FAMILY.folder.save(Model(FAMILY, config, FAMILY.build(config), {"codec": codec}), tmp_path / "big")
    tiny(text=TUNED)
    planned, happened = happens(tmp_path)
    assert happened > 1
    assert math.isclose(planned, happened, rel_tol=0.2), f"{planned:.2f} GB planned, {happened:.2f} GB"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "sets",
    [
        ["train.precision=fp32", "train.batch_size=24"],
        ["train.precision=bf16", "train.batch_size=24", "train.optimizer.name=muon", "train.ema_halflife=10"],
        ["train.precision=fp32", "train.batch_size=6", "data.length=1024"],
        ["train.precision=fp32", "train.batch_size=96", "train.recompute=true"],
        ["train.precision=fp32", "train.batch_size=1", "model.hidden_size=1024", "model.num_hidden_layers=8"],
    ],
    ids=["fp32", "bf16-muon-average", "long-rows", "recompute", "many-weights"],
)
def test_memory_is_what_then_happens(tiny, tmp_path, sets):
    tiny()
    planned, happened = happens(tmp_path, *(word for item in [*BIG, *sets] for word in ("--set", item)))
    assert happened > 1
    assert math.isclose(planned, happened, rel_tol=0.2), f"{planned:.2f} GB planned, {happened:.2f} GB"


ALIGNED = """
init = "{init}"
[data]
sources = ["rows.jsonl"]
rows = "{rows}"
[objective]
name = "{name}"
[train]
steps = 2
batch_size = 8
"""


@pytest.fixture
def aligned(tmp_path, speaker, workspace):
    def aligned(name, rows, more=""):
        path = tmp_path / "aligned.toml"
        path.write_text(ALIGNED.format(init=speaker, rows=rows, name=name) + more)
        return plan(load_recipe(path), "aligned", workspace)

    return aligned


@pytest.mark.parametrize(
    ("name", "rows", "passes"),
    [("dpo", "preference", 8 / 3), ("orpo", "preference", 2), ("reward", "preference", 2), ("kto", "judged", 4 / 3)],
)
def test_a_step_of_alignment_reads_all_its_answers_and_a_reference_reads_them_too(
    name, rows, passes, aligned, monkeypatch
):
    monkeypatch.setattr(pace, "pace", lambda setting, batch: 1.0)
    assert aligned(name, rows).step_seconds == pytest.approx(passes)


def test_how_long_answers_will_be_is_not_foreseen(aligned):
    found = aligned("grpo", "prompts", "[reward]\nstop = 1.0\n")
    assert found.step_seconds is None
    assert "not measured" in found.text

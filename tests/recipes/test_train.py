"""From a recipe to a finished run folder: end to end, interrupted, refused, in stages."""

import json
import signal
import subprocess
import sys
import time

import pytest
import torch

from makar.core.errors import InputError, RecipeError, ResourceError, RunError
from makar.core.files import lock
from makar.core.nouns import Model
from makar.core.tensors import load_tensors
from makar.engine.load import find_model, open_model
from makar.families.table import family
from makar.recipes.assemble import assemble
from makar.recipes.execute import train
from makar.recipes.load import load_recipe, shipped
from makar.recipes.run import Workspace
from makar.train.distributed import World
from makar.train.metrics import read_metrics
from tests.emoji import draw_set


class Killed(BaseException):
    """Stands for a kill: nothing is saved on the way out."""


def killer(step):
    def progress(state):
        if state.step == step:
            raise Killed

    return progress


def losses(run):
    return [line["loss_hex"] for line in read_metrics(run.metrics)]


@pytest.fixture
def said():
    return []


def test_a_run_folder_is_complete(tiny, workspace, said):
    (result,) = train(tiny(), workspace, say=said.append)
    run, manifest = result.run, result.run.manifest
    assert sorted(path.name for path in run.folder.iterdir() if path.name[0] != ".") == [
        "checkpoints",
        "loss.png",
        "manifest.json",
        "metrics.jsonl",
        "model",
        "recipe.toml",
        "samples",
    ]
    assert result.outcome.step == 12
    assert run.finished
    assert manifest["data"]["sources"][0]["licence"]
    assert sum(count["documents"] for count in manifest["data"]["kept"].values()) <= 200
    assert manifest["data"]["hash"]
    assert manifest["tokens"]["train"] > 1000
    assert manifest["parameters"] == sum(t.numel() for t in load_tensors(run.model / "model.safetensors").values())
    assert set(manifest["code"]) == {"makar", "commit", "python", "torch", "platform"}
    assert manifest["machine"]["processor"]
    assert manifest["decisions"]["precision"] in ("fp32", "bf16")
    assert manifest["outcome"]["validation"]["bits_per_byte"] > 0
    assert manifest["outcome"]["weights_of_step"] in (6, 12)
    assert manifest["plan"]["parameters"] == manifest["parameters"]
    assert manifest["plan"]["step_seconds"] > 0
    assert (run.folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in sorted(run.samples.iterdir())] == ["step-00000006.txt", "step-00000012.txt"]
    assert (run.samples / "step-00000006.txt").read_text().startswith("the moon")
    assert any("plan of" in line for line in said)
    assert any(line.startswith("a sample at step 6:\nthe moon") for line in said)
    assert any("bits per byte" in line for line in said)


def test_the_model_folder_opens_and_writes(tiny, workspace):
    (result,) = train(tiny(), workspace)
    model = open_model(result.run.folder)
    assert model.generation["max_tokens"] == 8
    assert model.config.max_position_embeddings == 24
    assert model.parts["codec"].vocab_size <= 288
    card = (result.run.model / "README.md").read_text()
    for words in ("## Data", "licence as declared", "## Training", "## Evaluation", "bits per byte", "## Limits"):
        assert words in card
    assert f"{result.run.manifest['parameters']:,}" in card


def test_killed_and_started_again_equals_undisturbed(tiny, workspace):
    (whole,) = train(tiny(name="whole"), workspace)
    for step in (3, 6, 11):
        with pytest.raises(Killed):
            train(tiny(name="killed"), workspace, progress=killer(step))
        assert not workspace.run("killed").finished
        assert not workspace.run("killed").model.exists()
    (again,) = train(tiny(name="killed"), workspace)
    assert losses(again.run) == losses(whole.run)
    one, other = (load_tensors(result.run.model / "model.safetensors") for result in (whole, again))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len(again.run.manifest["resumed"]) == 3


def test_killed_before_the_model_was_written_finishes(tiny, workspace, monkeypatch):
    def dies(*_args):
        raise Killed

    monkeypatch.setattr("makar.recipes.execute.draw_loss", dies)
    with pytest.raises(Killed):
        train(tiny(), workspace)
    assert not workspace.run("tiny").finished
    monkeypatch.undo()
    (result,) = train(tiny(), workspace)
    assert result.run.finished
    assert result.run.manifest["outcome"]["step"] == 12


def test_a_finished_run_says_so_and_is_left_alone(tiny, workspace, said):
    (first,) = train(tiny(), workspace)
    before = {path: path.stat().st_mtime_ns for path in first.run.folder.rglob("*")}
    (second,) = train(tiny(), workspace, say=said.append)
    assert second.outcome is None
    assert "finished" in said[-1]
    assert {path: path.stat().st_mtime_ns for path in first.run.folder.rglob("*")} == before


def test_a_changed_recipe_is_refused_before_anything_is_done(tiny, workspace, said):
    train(tiny(), workspace)
    with pytest.raises(RunError, match=r"train\.optimizer\.learning_rate was 0\.01, now it is 0\.02.*--run"):
        train(tiny("train.optimizer.learning_rate=0.02"), workspace, say=said.append)
    assert said == []


def test_a_second_process_is_refused(tiny, workspace):
    run = workspace.run("tiny")
    with lock(run.folder), pytest.raises(RunError, match="another process"):
        train(tiny(), workspace)
    assert not run.manifest


def test_other_processes_look_for_models_only_once_the_first_has_fetched_them(tiny, workspace, monkeypatch):
    class Waits(Exception):
        pass

    def wait(world, value):
        raise Waits

    monkeypatch.setattr("makar.recipes.execute.join", lambda: World(1, 2))
    monkeypatch.setattr(World, "agree", wait)
    monkeypatch.setattr(Workspace, "model", lambda *given: pytest.fail("fetched by every process at once"))
    with pytest.raises(Waits):
        train(tiny("parts.codec=smollm2"), workspace)


def test_data_are_prepared_once(tiny, workspace, said):
    train(tiny("train.steps=1", name="one"), workspace, say=said.append)
    for words in ("collecting", "training a tokenizer", "encoding the train split"):
        assert any(words in line for line in said)
    said.clear()
    (second,) = train(tiny("train.steps=1", name="two"), workspace, say=said.append)
    for words in ("collecting", "training a tokenizer", "encoding"):
        assert not any(words in line for line in said)
    assert second.plan.epochs == pytest.approx(4 * 24 / second.run.manifest["tokens"]["train"])


def test_no_matplotlib_is_said_and_not_fatal(tiny, workspace, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (result,) = train(tiny("train.steps=1"), workspace, say=said.append)
    assert result.run.finished
    assert any("makar[charts]" in line for line in said)


def test_a_signal_stops_all_stages_and_the_next_start_goes_on(tiny, workspace):
    def progress(state):
        if state.step == 5:
            signal.raise_signal(signal.SIGTERM)

    (result,) = train(tiny(), workspace, progress=progress)
    assert result.outcome.interrupted
    assert not result.run.finished
    assert not result.run.model.exists()
    (again,) = train(tiny(), workspace)
    assert again.run.finished


def test_the_best_weights_are_kept(tiny, workspace, monkeypatch):
    """The first look is told to be the best: its checkpoint is what the model folder holds."""
    from makar.core.nouns import Verdict

    seen = {}

    def liar(*_args, **_kwargs):
        def look(step, model):
            seen[step] = model.net.state_dict()["model.norm.weight"].clone()
            return Verdict({"loss": float(step)}, score=float(step))

        return look

    monkeypatch.setattr("makar.recipes.assemble.validation", liar)
    (result,) = train(tiny("train.ema_halflife=3"), workspace)
    assert result.run.manifest["outcome"]["weights_of_step"] == 6
    assert result.run.manifest["outcome"]["validation"] == {"loss": 6.0}
    saved = load_tensors(result.run.model / "model.safetensors")["model.norm.weight"]
    assert torch.equal(saved, seen[6])
    assert not torch.equal(saved, seen[12])
    assert "averaged" in (result.run.model / "README.md").read_text()


CHAIN = """
[stages.second]
init = "@first"
data = {{ sources = ["{corpus}"], collect = {{ valid_fraction = 0.1, min_chars = 1 }}, length = 16, fim_rate = 0.5 }}
train = {{ steps = 2, batch_size = 2, compile = "off" }}
[stages.third]
parts = {{ codec = "@first" }}
data = {{ sources = ["{corpus}"], collect = {{ valid_fraction = 0.1, min_chars = 1 }}, length = 16 }}
model = {{ family = "language", vocab_size = 300, hidden_size = 16, num_hidden_layers = 1 }}
train = {{ steps = 2, batch_size = 2, compile = "off" }}
[stages.first]
data = {{ sources = ["{corpus}"], collect = {{ valid_fraction = 0.1, min_chars = 1 }}, length = 24 }}
model = {{ family = "language", vocab_size = 288, hidden_size = 16, num_hidden_layers = 1 }}
train = {{ steps = 2, batch_size = 2, compile = "off" }}
"""


def test_stages_begin_from_each_other(tiny, workspace):
    results = train(tiny(name="chain", text=CHAIN), workspace)
    names = [str(result.run.folder.relative_to(workspace.runs)) for result in results]
    assert names[0] == "chain/first"
    assert set(names) == {"chain/first", "chain/second", "chain/third"}
    first, second, third = (open_model(workspace.run(f"chain/{name}").folder) for name in ("first", "second", "third"))
    assert first.parts["codec"].hash == second.parts["codec"].hash == third.parts["codec"].hash
    assert (second.config.vocab_size, third.config.vocab_size) == (288, 300)
    moved = (first.net.state_dict()["model.norm.weight"] - second.net.state_dict()["model.norm.weight"]).abs().max()
    assert 0 < moved < 0.1
    parent = workspace.run("chain/second").manifest["parent"]["@chain/first"]
    assert len(parent["weights"]["model.safetensors"]) == 64
    assert find_model(workspace.runs / "chain") == results[-1].run.model, "the recipe's name means its last stage"


def test_what_a_stage_lacks_is_said_before_the_first_begins(tiny, workspace, said):
    with pytest.raises(RecipeError, match="no such stage or run"):
        train(tiny("stages.third.parts.codec=@nowhere", name="chain", text=CHAIN), workspace, say=said.append)
    assert not workspace.runs.exists()


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("@frist", "no such stage or run .*did you mean '@first'"),
        ("@", "no such stage or run .*there are: @.*, @other/one"),
        ("@other", "no such stage or run .*did you mean '@other/one'"),
        ("@other/one", "the run has not finished"),
    ],
)
def test_a_reference_that_is_nobodys_name_is_said_with_the_nearest(tiny, workspace, reference, said):
    other = workspace.run("other/one")
    other.begin({}, {})
    sets = [f"stages.second.init='{reference}'", "stages.third.parts.codec='@second'"]
    file = tiny(*sets, name="chain", text=CHAIN)
    with pytest.raises((RecipeError, RunError), match=said):
        train(file, workspace)


@pytest.mark.parametrize(
    ("sets", "error", "words"),
    [
        (["objective.name=next_tokn"], RecipeError, "did you mean 'next_token'"),
        (["objective.options.smoothing=1"], RecipeError, "no option 'smoothing'"),
        (["sample.temprature=1"], RecipeError, "did you mean 'temperature'"),
        (["watch.prompts='moon'"], RecipeError, r"it must be a list, such as \[1, 2\]"),
        (["train.schedule=3"], RecipeError, r"it must be a table, such as \{name = value\}"),
        (["sample.temperature=-1"], RecipeError, "greater than or equal to 0"),
        (["data.sources=['{{nonsense}}']"], RecipeError, "only {stdlib}"),
        (["data.dataset=nowhere", "data.sources=[]"], InputError, "not a dataset folder"),
        (["model.vocab_size=20"], RecipeError, "vocabulary is too small"),
    ],
)
def test_what_does_not_fit_is_said(tiny, workspace, sets, error, words):
    with pytest.raises(error, match=words) as caught:
        train(tiny(*[item.replace("{{", "{").replace("}}", "}") for item in sets]), workspace)
    assert caught.value.exit_code == 2
    assert not workspace.run("tiny").manifest


def test_a_tokenizer_must_fit_the_model(tiny, workspace):
    train(tiny("train.steps=1", name="big"), workspace)
    with pytest.raises(RecipeError, match="more tokens than the model"):
        train(tiny("parts.codec=@big", "model.vocab_size=280", name="small"), workspace)


def test_rows_must_fit_what_the_model_begins_with(tiny, workspace):
    text = CHAIN.replace("length = 16, fim_rate = 0.5", "length = 32")
    with pytest.raises(RecipeError, match=r"data\.length.*longer than the model's context.*got 32"):
        train(tiny(name="chain", text=text), workspace)


def test_damaged_tokens_are_refused(tiny, workspace):
    train(tiny("train.steps=1", name="one"), workspace)
    (shard,) = workspace.data.glob("*/tokens-train-*/tokens-00000.bin")
    flipped = bytearray(shard.read_bytes())
    flipped[10] ^= 1
    shard.write_bytes(flipped)
    with pytest.raises(InputError, match="damaged"):
        train(tiny("train.steps=1", name="two"), workspace)


def test_what_cannot_fit_is_refused_unless_forced(tiny, workspace, monkeypatch):
    monkeypatch.setattr("makar.recipes.plan.memory_free", lambda machine: 1000)
    with pytest.raises(ResourceError, match=r"not enough memory.*--force"):
        train(tiny("train.steps=1"), workspace)
    assert not workspace.run("tiny").folder.exists()
    (result,) = train(tiny("train.steps=1"), workspace, force=True)
    assert result.run.finished


@pytest.mark.slow
def test_kill_9_through_the_command_line(tiny, workspace, tmp_path):
    """The real thing: SIGKILL at moments nobody chose, then the same command."""
    (whole,) = train(tiny("train.steps=200", name="whole"), workspace)
    tiny("train.steps=200", name="killed")
    command = [sys.executable, "-m", "makar", "train", "killed.toml", "--set", "train.steps=200", "--quiet"]
    kills = 0
    for _ in range(20):
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
            metrics = tmp_path / "runs/killed/metrics.jsonl"
            size = metrics.stat().st_size if metrics.exists() else 0
            while process.poll() is None and (metrics.stat().st_size if metrics.exists() else 0) < size + 4000:
                time.sleep(0.01)
            if process.poll() is None:
                process.kill()
                kills += 1
        if workspace.run("killed").finished:
            break
    assert kills >= 2
    assert workspace.run("killed").finished
    assert losses(workspace.run("killed")) == losses(whole.run)
    one, other = (workspace.run(name).model / "model.safetensors" for name in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_processes_make_the_model_of_one(tiny, workspace, tmp_path):
    sets = ["train.steps=6", "train.precision=fp32", "train.batch_size=6"]
    (whole,) = train(tiny(*sets, name="whole"), workspace)
    tiny(name="both")
    given = [word for item in sets for word in ("--set", item)]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*launch, "-m", "makar", "train", "both.toml", "--quiet", *given], cwd=tmp_path, check=True)
    both = workspace.run("both")
    assert both.finished
    assert both.manifest["decisions"]["processes"] == 2
    ours, theirs = ([line["loss"] for line in read_metrics(run.metrics)] for run in (whole.run, both))
    assert theirs == pytest.approx(ours, rel=1e-5)
    one, other = (load_tensors(run.model / "model.safetensors") for run in (whole.run, both))
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


TINY_MODEL = ("model.hidden_size=16", "model.num_hidden_layers=1", "model.vocab_size=300")
TINY_NETS = {
    "mlp": ("model.net.hidden_sizes=[8]",),
    "style": ("model.net.sample_size=16", "model.net.block_out_channels=[8, 8]"),
    "unet": (
        "model.net.sample_size=28",
        "model.net.block_out_channels=[8, 8]",
        "model.net.down_block_types=['DownBlock2D', 'DownBlock2D']",
    ),
    "dit": ("model.net.sample_size=4", "model.net.num_layers=1", "model.net.attention_head_dim=8"),
    None: ("model.net.sample_size=8", "model.net.block_out_channels=[8, 8]"),  # autoencoders, by their bottleneck
}
TINY_NET = ("model.net.block_out_channels=[8, 8]",)
TINY_TEXT = ("data.collect.test='hash'", "data.collect.valid_fraction=0.2", "data.collect.min_chars=1")
TINY_PICTURES = ("data.collect.pictures.near=0", "data.collect.valid_fraction=0.2")
TINY_TOWER = "{hidden_size=32, num_hidden_layers=2, patch_size=16}"
TINY_SCENES = {
    "clip": (f"model.vision={TINY_TOWER}", "model.text={hidden_size=32, num_hidden_layers=1, vocab_size=600}"),
    "llava": (f"model.vision={TINY_TOWER}", "model.text={hidden_size=32, num_hidden_layers=1, vocab_size=400}"),
    "autoencoder": ("model.net.block_out_channels=[8, 8, 8]",),
    "diffusion": (
        "model.net.num_layers=1", "model.net.num_attention_heads=1", "model.net.attention_head_dim=16",
        "model.net.joint_attention_dim=64", "model.net.pooled_projection_dim=64", "sample.steps=1", "watch.judged=2",
    ),
}  # fmt: skip
TINY_RUN = ("train.steps=2", "train.batch_size=4", "train.compile='off'", "watch.validate_rows=4")
TINY_PAIRS = ("rollouts.group=2", "rollouts.batches=1")
TINY_ROLLOUTS = ("rollouts.group=2", "rollouts.max_tokens=4")


@pytest.fixture(scope="session")
def emoji(tmp_path_factory):
    return draw_set(tmp_path_factory.mktemp("emoji"))


@pytest.fixture(scope="session")
def named(pictures, tmp_path_factory):
    """Noise of 32x32 pixels with captions."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("named")
    for number, file in enumerate(sorted(pictures.glob("*/*.png"))):
        Image.open(file).resize((32, 32), Image.Resampling.NEAREST).save(folder / file.name)
        (folder / f"{file.stem}.txt").write_text(f"noise number {number}")
    return folder


@pytest.fixture(scope="session")
def tower(tmp_path_factory):
    """A tiny CLIP that has learned nothing, as a folder."""
    from makar.codecs.captions import train_captions
    from makar.data.scene_words import captions_of
    from makar.data.scenes import scene_of
    from makar.families.clip.config import ClipConfig
    from makar.families.clip.family import FAMILY

    codec = train_captions((text for k in range(300) for text in captions_of(scene_of(k, 0), k)), 1024, 24)
    config = ClipConfig.model_validate({
        "vision": {"hidden_size": 32, "num_hidden_layers": 2, "patch_size": 16},
        "text": {"hidden_size": 32, "num_hidden_layers": 1},
    })  # fmt: skip
    folder = tmp_path_factory.mktemp("tower")
    FAMILY.folder.save(Model(FAMILY, config, FAMILY.build(config), {"codec": codec}), folder)
    return folder


@pytest.fixture
def made_small(verses, python_files, manual, pictures, speaker, painter, emoji, tower, request, monkeypatch):
    """Change a stage of a shipped recipe so that it takes seconds and nothing from outside."""
    monkeypatch.setattr("makar.recipes.talks.LOOKED", 1)
    monkeypatch.setattr("makar.recipes.talks.TOLD", 50)
    monkeypatch.setattr("makar.evaluate.sights.GREEDY", {"temperature": 0.0, "max_tokens": 2})

    def sets(recipe, inner):
        given = list(TINY_RUN)
        if recipe.data.rows == "scenes" and recipe.reward:
            made = request.getfixturevalue("scenes")
            ours = [f"init='{made['draw']}'", f"reward.clip.path='{made['clip']}'", f"data.sources=['{made['emoji']}']"]
            return [*given, *ours, *TINY_PAIRS, "watch.judged=2"]
        if recipe.data.subject or recipe.control:
            made = request.getfixturevalue("scenes")
            ours = [f"init='{made['draw']}'", f"data.sources=['{pictures if recipe.data.subject else made['emoji']}']"]
            few = ["data.subject.only=['?.png']", "data.collect.pictures.fit='pad'"]
            ours += few if recipe.data.subject else ["control.num_layers=1"]
            return [*given, *ours, *(["data.subject.prior_pictures=8"] if recipe.adapter else [])]
        if recipe.data.rows == "captioned":
            ours = (f"data.sources=['{request.getfixturevalue('named')}']", *TINY_PICTURES, *TINY_SCENES["clip"])
            return [*given, *ours]
        if recipe.data.rows in ("scenes", "scene-talks"):
            given += [
                f"data.sources=['{emoji}']",
                *(f"parts.{name}='{tower}'" for name, of in recipe.parts.items() if "/" not in of),
            ]
            return given + list(TINY_SCENES.get(recipe.model.family, ()) if recipe.model else ())
        if recipe.init and not inner:
            given.append(f"init='{painter if recipe.data.rows == 'image' else speaker}'")
        if recipe.model is not None:
            kind = getattr(getattr(recipe.model, "net", None), "kind", None)
            given += TINY_NETS.get(kind, TINY_NET) if recipe.data.rows == "image" else TINY_MODEL
        if recipe.data.rows == "image":
            steps = recipe.model is None or "steps" in family(recipe.model.family).settings.model_fields
            given += ["sample.steps=2"] if steps else []
            given += TINY_PAIRS if recipe.reward else ()
            given += ["reward.class.name='c8'"] if isinstance((recipe.reward or {}).get("class"), dict) else ()
            return [*given, f"data.sources=['{pictures}']", *TINY_PICTURES]
        given.append("data.length=512")
        if not recipe.data.sources[0].startswith("make:"):
            source = {("docstring",): python_files, ("summary",): manual}.get(recipe.data.collect.ask, verses)
            given += [f"data.sources=['{source}']", *TINY_TEXT]
        else:
            given.append("data.collect.limit_bytes=40000")
        given += TINY_ROLLOUTS if recipe.data.rows == "prompts" else ()
        return [*given, "data.cut=1.0"] if recipe.data.rows == "chat" else given

    return sets


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_run_tiny(name, made_small, workspace, hasty_judges):
    stages = load_recipe(name).stages
    sets = []
    for stage, recipe in stages.items():
        prefix = f"stages.{stage.rpartition('/')[2]}." if len(stages) > 1 else ""
        inner = (recipe.init or "").removeprefix("@") in stages
        sets += [prefix + each for each in made_small(recipe, inner)]
    results = train(load_recipe(name, sets), workspace)
    assert len(results) == len(stages)
    assert all(result.run.finished for result in results)
    assert all(json.loads((result.run.folder / "manifest.json").read_text())["outcome"] for result in results)


def test_a_resumed_run_samples_at_the_pace_that_it_began_with(tiny, workspace, monkeypatch):
    paces = []

    def assembled(*args, step_seconds=None, **more):
        paces.append(step_seconds)
        return assemble(*args, step_seconds=step_seconds, **more)

    monkeypatch.setattr("makar.recipes.execute.assemble", assembled)
    with pytest.raises(Killed):
        train(tiny(), workspace, progress=killer(3))
    train(tiny(), workspace)
    assert paces[0] > 0
    assert paces[0] == paces[1]

"""Recipes of pictures of several shapes: what rows they make, that they resume to the bit, and what is refused."""

import json

import pytest
import torch
from PIL import Image

from makar.core.device import Machine
from makar.core.errors import InputError, RecipeError
from makar.data.buckets import Buckets
from makar.data.collect import collect
from makar.data.config import Augment, CollectOptions, PictureOptions
from makar.nets.mmdit_config import MMDiTConfig
from makar.recipes.buckets import net_shapes
from makar.recipes.captioned import captioned_rows
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.recipe import DataConfig
from makar.recipes.run import Workspace
from makar.train.metrics import read_metrics
from tests.data.test_captioned import Halves
from tests.families.diffusion.reading import Tower

NET = MMDiTConfig(sample_size=16, patch_size=4, pos_embed_max_size=5)
SIZES = ((12, 20), (30, 31), (20, 12), (26, 24), (40, 24))
COLLECT = {"valid_fraction": 0.2, "test_fraction": 0.0, "pictures": {"near": 0}}


def encode(texts):
    """The number of a picture, as two tokens."""
    return torch.tensor([divmod(int(text.split()[-1]), 256) for text in texts])


def draw(folder, sizes=SIZES, count=60):
    """Plain pictures of some shapes, each of its own gray, whose captions say it."""
    folder.mkdir()
    rows = []
    for number in range(count):
        Image.new("RGB", sizes[number % len(sizes)], (number, 255 - number, 80)).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "text": f"red {number}"})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    draw(root / "pictures")
    return root


def rows_of(place, buckets=3, *, folder="pictures", net=NET, least=4, reads=encode, augment=None, **more):
    said = []
    data = DataConfig(
        sources=(str(place / folder),), rows="captioned", collect=COLLECT, buckets=buckets, augment=augment or Augment()
    )
    rows = captioned_rows(
        data, reads, net.sample_size, net.in_channels, net=net, least=least, seed=1, workspace=Workspace(place),
        say=said.append, **more,
    )  # fmt: skip
    return rows, said


def numbers(batch):
    """Which pictures they are, by what is seen, and by what is said."""
    shown = ((batch["images"][:, 0].mean((1, 2)) + 1) * 127.5).round().int()
    assert torch.equal(shown.long(), batch["tokens"] @ torch.tensor([256, 1]))
    return shown.tolist()


def test_every_picture_goes_to_the_shape_nearest_to_its_own_and_is_seen_once_an_epoch(place):
    rows, said = rows_of(place)
    known = rows.facts["pictures"]
    assert list(known["size"]) == ["12x20", "16x16", "20x12"]
    assert sum(known["size"].values()) == known["train"]
    assert known["train"] + known["valid"] == 60
    assert "12x20 (" in said[-1]
    wanted = {0: (20, 12), 1: (16, 16), 2: (12, 20), 3: (16, 16), 4: (12, 20)}
    for source, count in ((rows.train, known["train"]), (rows.valid, known["valid"])):
        seen = []
        for step in range(count):
            batch = source.batch(step, 1)
            (number,) = numbers(batch)
            assert batch["images"].shape[2:] == wanted[number % 5]
            seen.append(number)
        assert len(set(seen)) == count
    whole = rows.train.batch(5, 4)
    assert len(numbers(whole)) == 4
    again, _ = rows_of(place)
    assert all(torch.equal(again.train.batch(5, 4)[name], column) for name, column in whole.items())
    assert again.identity == rows.identity


def test_squares_alone_are_as_they_were(place):
    """The folder and the identity of a run that asks for no shapes, and what buckets=1 says of itself: nothing."""
    squares, _ = rows_of(place, 1, net=NET.model_copy(update={"sample_size": 12}))
    shapes, _ = rows_of(place)
    assert squares.train.batch(0, 4)["images"].shape == (4, 3, 12, 12)
    assert squares.identity["pixels"] != shapes.identity["pixels"]
    assert squares.identity["data"] == shapes.identity["data"]
    assert "buckets" not in DataConfig(sources=("x",), rows="captioned").model_dump()


def test_pictures_of_a_shape_with_too_few_go_to_the_nearest_that_is_left(place):
    draw(place / "few", (*[(30, 31)] * 9, (20, 12)))
    rows, said = rows_of(place, folder="few", least=16)
    assert any("nearest to 20x12, fewer than the 16 of a batch: the nearest other shape" in line for line in said)
    assert rows.facts["pictures"]["size"] == {"16x16": rows.facts["pictures"]["train"]}
    # of 12 pixels in a column, they are too small for the square
    assert any("have no caption or not the size" in line for line in said)
    more, _ = rows_of(place, folder="few", least=2)
    assert list(more.facts["pictures"]["size"]) == ["16x16", "20x12"]


def test_latents_and_what_the_tower_said_have_shapes_too(place):
    net = MMDiTConfig(sample_size=8, patch_size=2, pos_embed_max_size=5)
    tower = Tower()
    rows, said = rows_of(place, net=net, codec=Halves(), text=tower, reads=tower.rows)
    shapes = {tuple(rows.train.batch(step, 4)["images"].shape[2:]) for step in range(9)}
    assert shapes == {(10, 6), (8, 8), (6, 10)}
    batch = rows.valid.batch(0, 2)
    assert batch["text_tokens"].shape == (2, tower.length, tower.width)
    assert rows.identity["codec"] == "halves"
    assert any("encoding" in line for line in said)
    _, again = rows_of(place, net=net, codec=Halves(), text=tower, reads=tower.rows)
    assert len(again) == 1


def test_each_shape_varies_by_its_own_noise(place):
    """The first rows of two shapes do not have the same brightness drawn."""
    plain, _ = rows_of(place)
    vary, _ = rows_of(place, augment=Augment(jitter=0.2))
    firsts = {}
    for step in range(12):
        shape, number = plain.train.place(step, 4)
        if number == 0:
            one, other = plain.train.batch(step, 4)["images"], vary.train.batch(step, 4)["images"]
            firsts[shape] = (other - one)[:, 2].mean((1, 2))
    assert len(firsts) == 3
    assert not torch.allclose(firsts[0], firsts[1], atol=1e-3)


def test_pictures_smaller_than_every_shape_are_refused(place):
    draw(place / "small", ((8, 8), (9, 7)))
    with pytest.raises(InputError, match=r"no picture of .* pixels in 'train' .*choose a smaller size"):
        rows_of(place, folder="small")


def test_a_dataset_of_squares_is_refused(place):
    collect([str(place / "pictures")], place / "squares", CollectOptions(pictures=PictureOptions(size=12, near=0)))
    data = DataConfig(dataset=str(place / "squares"), rows="captioned", buckets=3)
    with pytest.raises(InputError, match=r"squares: its pictures are stored as squares \(got 12\); collect without"):
        captioned_rows(data, encode, 16, 3, net=NET, seed=1, workspace=Workspace(place), say=print)


def test_shapes_are_in_whole_patches_and_within_the_positions():
    assert net_shapes(NET, 3) == ((20, 12), (16, 16), (12, 20))
    with pytest.raises(ValueError, match=r"pos_embed_max_size to 5 or more.*positions for 4"):
        net_shapes(MMDiTConfig(sample_size=16, patch_size=4), 3)
    with pytest.raises(ValueError, match="set data.buckets to 3 or less"):
        net_shapes(NET, 5)
    with pytest.raises(ValueError, match="only a net of kind 'mmdit'"):
        net_shapes(None, 3)


RECIPE = """
[data]
sources = ["{place}/pictures"]
rows = "captioned"
buckets = 3
collect = {{ valid_fraction = 0.2, test_fraction = 0.0, pictures = {{ near = 0 }} }}
[model]
family = "diffusion"
prediction = "data"
[model.net]
kind = "mmdit"
sample_size = 16
patch_size = 4
pos_embed_max_size = 5
num_layers = 1
num_attention_heads = 2
attention_head_dim = 8
joint_attention_dim = 10
pooled_projection_dim = 8
[train]
steps = 12
batch_size = 4
micro_batch_size = 3
checkpoint_steps = 4
precision = "fp32"
optimizer = {{ learning_rate = 0.01 }}
[watch]
validate_every = 6
validate_rows = 8
sample_every = 12
prompts = ["a red cat", "space"]
[sample]
steps = 1
"""


@pytest.fixture
def recipe(place, tmp_path, monkeypatch):
    """The recipe, changed at will; the model reads by a toy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)

    def load(*sets, name="told"):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(place=place))
        return load_recipe(tmp_path / f"{name}.toml", sets)

    return load


@pytest.fixture
def read(monkeypatch):
    """A recipe whose part "text" is the toy tower, on a machine that nobody measures."""
    machine = Machine("cpu", "none", 1, 1 << 40, torch.__version__, 1e11, 1e11, 1.0)
    for place in ("execute", "plan"):
        monkeypatch.setattr(f"makar.recipes.{place}.probe", lambda _: machine)
    monkeypatch.setattr("makar.families.diffusion.folder.save_towers", lambda *_, **__: None)
    monkeypatch.setattr("makar.recipes.assemble.part", lambda *_: Tower())
    monkeypatch.setattr("makar.recipes.assemble.parent", lambda *_: {})
    monkeypatch.setattr("makar.recipes.execute.check", lambda *_: None)
    return ["parts={text='toy'}"]


class Killed(BaseException):
    """Stands for a kill: nothing is saved on the way out."""


def size_of(file):
    with Image.open(file) as picture:
        return picture.size


def losses(run):
    return [line["loss_hex"] for line in read_metrics(run.metrics)]


def test_a_run_learns_all_shapes_and_resumes_to_the_bit(recipe, read, tmp_path, monkeypatch):
    workspace, seen, plain = Workspace(tmp_path), [], Buckets.batch

    def watched(source, step, size):
        batch = plain(source, step, size)
        seen.append((size, *batch["images"].shape[2:]))
        return batch

    monkeypatch.setattr(Buckets, "batch", watched)
    (whole,) = train(recipe(*read), workspace)
    assert {tuple(shape) for size, *shape in seen if size == 4} == {(20, 12), (16, 16), (12, 20)}
    assert any(size == 8 for size, *_ in seen)  # validation
    assert size_of(whole.run.samples / "step-00000012.png") == (64, 64)

    def stop(state):
        if state.step == 5:
            raise Killed

    file = recipe(*read, name="again")
    with pytest.raises(Killed):
        train(file, workspace, progress=stop)
    (again,) = train(file, workspace)
    assert losses(again.run) == losses(whole.run)
    looks = [read_metrics(each.run.metrics, "watch") for each in (again, whole)]
    assert [line["score"] for line in looks[0] if "score" in line] == [
        line["score"] for line in looks[1] if "score" in line
    ]


def test_a_sample_may_have_another_shape(recipe, read, tmp_path):
    (done,) = train(recipe(*read, "sample={steps=1, height=20, width=12}", "train.steps=2"), Workspace(tmp_path))
    assert size_of(done.run.samples / "step-00000002.png") == (48, 80)
    with pytest.raises(InputError, match="height: a side is a whole number of patches"):
        train(recipe(*read, "sample={steps=1, height=18}", name="odd"), Workspace(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["data.buckets=2"], r"set buckets to an odd number.*\(got 2\)"),
        (["data.buckets=0"], "greater than or equal to 1"),
        (["data.rows=scenes"], r"give rows = 'captioned', or leave buckets out \(got 3\)"),
        (["data.collect.pictures.size=32"], "leave collect.pictures.size out"),
        (["model.net.pos_embed_max_size=4"], "set model.net.pos_embed_max_size to 5 or more"),
        (["data.buckets=5"], "set data.buckets to 3 or less: the net's square has 4 patches in a row"),
        (["model.net={kind='unet', sample_size=16}"], "only a net of kind 'mmdit'"),
        (["model.net={kind='dit', sample_size=16}"], "only a net of kind 'mmdit'"),
        (["model={family='clip'}"], "only a net of kind 'mmdit'"),
        (["train.compile=on"], r"set train.compile = 'off', for data.buckets has 3 shapes"),
    ],
)
def test_shapes_that_cannot_be_are_refused_before_anything_is_made(recipe, change, said):
    with pytest.raises(RecipeError, match=said):
        recipe(*change)


def test_rewards_are_earned_by_squares(recipe, tmp_path):
    text = RECIPE.split("[model]", maxsplit=1)[0].format(place="x") + "[train]\nsteps = 2\nbatch_size = 4\n"
    (tmp_path / "aligned.toml").write_text(
        f'init = "x"\nobjective = {{ name = "direct" }}\nreward = {{ clip = 1.0 }}\n{text}'
    )
    with pytest.raises(RecipeError, match="leave data.buckets out: the objective 'direct' learns from squares"):
        load_recipe(tmp_path / "aligned.toml")
    assert load_recipe(tmp_path / "aligned.toml", ["data.buckets=1"])


def test_compiling_is_left_out_where_nothing_is_said_of_it(recipe):
    (found,) = recipe().stages.values()
    assert found.train.compile == "off"
    (squares,) = recipe("data.buckets=1").stages.values()
    assert squares.train.compile == "auto"
    assert squares.data.model_dump() == {key: v for key, v in found.data.model_dump().items() if key != "buckets"}


def test_a_model_that_is_given_is_asked_whether_it_can(place):
    """What it begins from says what it is only when it is opened."""
    net = MMDiTConfig(sample_size=16, patch_size=4)
    with pytest.raises(RecipeError, match=r"data.buckets: the net does not learn .*pos_embed_max_size to 5"):
        rows_of(place, net=net)
    data = DataConfig(sources=(str(place / "pictures"),), rows="captioned", collect=COLLECT, buckets=3)
    with pytest.raises(RecipeError, match="only a net of kind 'mmdit'"):
        captioned_rows(data, encode, 16, 3, seed=1, workspace=Workspace(place), say=print)

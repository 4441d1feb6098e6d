"""Recipes from files and from the command line, and what is said of bad ones."""

import subprocess
import sys
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makar.core.errors import RecipeError
from makar.recipes.load import load_recipe, shipped, to_toml
from makar.recipes.recipe import Recipe, recipe_schema

SMALL = """
[data]
sources = ["poems.txt"]
length = 32
[model]
family = "language"
hidden_size = 64
num_hidden_layers = 2
[train]
steps = 10
batch_size = 4
"""

CHAIN = """
[stages.sft]
init = "@pretrain"
data = {dataset = "data/answers"}
train = {steps = 5, batch_size = 2}
[stages.pretrain]
data = {sources = ["a.txt"]}
model = {family = "language", hidden_size = 64, num_hidden_layers = 1}
train = {steps = 5, batch_size = 2}
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="small.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def fault(path, *sets):
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, sets)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.exit_code == 2
    return line


def test_one_stage_is_named_after_its_file(write):
    file = load_recipe(write(SMALL))
    assert (file.name, list(file.stages)) == ("small", ["small"])
    recipe = file.stages["small"]
    assert recipe.train.steps == 10
    assert recipe.model.family == "language"


def test_run_folder_can_be_given(write, tmp_path):
    file = load_recipe(write(CHAIN), run=tmp_path / "other")
    assert list(file.stages) == [f"{tmp_path}/other/pretrain", f"{tmp_path}/other/sft"]


def test_the_data_decide_what_the_model_leaves_unsaid(write):
    model = load_recipe(write(SMALL)).stages["small"].model
    assert (model.max_position_embeddings, model.vocab_size) == (32, 4096)
    said = load_recipe(write(SMALL), ["model.max_position_embeddings=64", "model.vocab_size=512"]).stages["small"].model
    assert (said.max_position_embeddings, said.vocab_size) == (64, 512)


def test_stages_run_after_what_they_begin_from(write):
    file = load_recipe(write(CHAIN, "chain.toml"))
    assert list(file.stages) == ["chain/pretrain", "chain/sft"]
    assert file.stages["chain/sft"].init == "@chain/pretrain"


def test_parts_are_references_too(write):
    text = CHAIN + '[stages.first]\nparts = {codec = "@sft", other = "@run", third = "folder"}\n'
    text += 'data = {sources = ["a.txt"]}\ntrain = {steps = 5, batch_size = 2}\n'
    text += 'model = {family = "language", hidden_size = 64, num_hidden_layers = 1}\n'
    file = load_recipe(write(text, "chain.toml"))
    assert list(file.stages) == ["chain/pretrain", "chain/sft", "chain/first"]
    assert file.stages["chain/first"].parts == {"codec": "@chain/sft", "other": "@run", "third": "folder"}


def test_a_circle_is_named(write):
    text = CHAIN.replace('data = {sources = ["a.txt"]}\nmodel', 'init = "@sft"\ndata = {sources = ["a.txt"]}\n#')
    line = fault(write(text))
    assert "in a circle" in line
    assert "pretrain → sft → pretrain" in line or "sft → pretrain → sft" in line


def test_a_stage_stands_alone_and_its_repetition_begins_from_the_same(write, tmp_path):
    alone = load_recipe(write(CHAIN), stage="sft")
    assert list(alone.stages) == ["small/sft"]
    assert alone.stages["small/sft"] == load_recipe(write(CHAIN)).stages["small/sft"]
    again = load_recipe(write(CHAIN), run=tmp_path / "again", stage="sft")
    assert list(again.stages) == [str(tmp_path / "again")]
    assert again.stages[str(tmp_path / "again")].init == "@small/pretrain"


@pytest.mark.parametrize(
    ("text", "stage", "said"), [(CHAIN, "stf", "did you mean 'sft'"), (SMALL, "sft", "leave --stage out")]
)
def test_a_stage_that_is_not_there(write, text, stage, said):
    with pytest.raises(RecipeError, match=said):
        load_recipe(write(text), stage=stage)


def test_set_changes_fields(write):
    recipe = load_recipe(
        write(SMALL),
        ["train.optimizer.name=muon", "train.steps = 7", 'data.sources=["a","b"]', "model.qk_norm=true", "seed=3"],
    ).stages["small"]
    assert (recipe.train.optimizer.name, recipe.train.steps, recipe.seed) == ("muon", 7, 3)
    assert recipe.data.sources == ("a", "b")
    assert recipe.model.qk_norm is True
    assert load_recipe(write(CHAIN), ["stages.sft.train.steps=9"]).stages["small/sft"].train.steps == 9


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (
            ["train.stpes=10"],
            ["unknown field 'train.stpes'", "got 10", "did you mean 'steps'?", "--set train.stpes=10"],
        ),
        (["model.hiden_size=8"], ["unknown field 'model.hiden_size'", "did you mean 'hidden_size'?"]),
        (["modle.hidden_size=8"], ["unknown field 'modle'", "did you mean 'model'?"]),
        (["data.collect.min_char=8"], ["unknown field 'data.collect.min_char'", "did you mean 'min_chars'?"]),
        (["train.steps=-1"], ["field 'train.steps'", "got -1", "it must be greater than 0"]),
        (["train.steps=many"], ["field 'train.steps'", "got 'many'", "valid integer"]),
        (["train.steps=1.5"], ["field 'train.steps'", "got 1.5"]),
        (["model.hidden_size=-64"], ["field 'model.hidden_size'", "got -64", "it must be greater than 0"]),
        (["model.num_attention_heads=3"], ["field 'model'", "divi", "64", "3"]),
        (["model.family=langage"], ["field 'model.family'", "got 'langage'", "language"]),
        (
            ["train.optimizer.name=muom"],
            ["field 'train.optimizer.name'", "got 'muom'", "did you mean 'muon'?", "adamw"],
        ),
        (["train.schedule.name=cosin"], ["field 'train.schedule.name'", "did you mean 'cosine'?", "wsd"]),
        (["train.schedule={name='wsd', dcay=0.1}"], ["unknown field 'train.schedule.dcay'", "did you mean 'decay'?"]),
        (["train.schedule={warmup=0.1}"], ["field 'train.schedule.name' is missing"]),
        (["data.length=64", "model.max_position_embeddings=32"], ["data.length 64", "max_position_embeddings 32"]),
        (["data.dataset=folder"], ["field 'data'", "one of the two"]),
        (["init=@other"], ["one of the two"]),
        (["train.steps.deep=1"], ["'train.steps' holds no fields"]),
        (["train.steps"], ["not a setting", "train.steps=1000"]),
        (["train..steps=1"], ["not a setting"]),
    ],
)
def test_a_bad_setting_is_explained(write, sets, said):
    line = fault(write(SMALL), *sets)
    missing = [words for words in said if words not in line]
    assert not missing, line


def test_the_file_is_named_and_faults_are_counted(write):
    path = write(SMALL.replace("steps", "stesp").replace("batch_size = 4", "batch_size = 0"))
    line = fault(path)
    assert line.startswith(f"{path}: unknown field 'train.stesp' (and 2 more)")


def test_a_missing_field_is_named(write):
    assert "field 'train.steps' is missing" in fault(write(SMALL.replace("steps = 10", "")))


def test_a_stage_has_to_be_named_in_a_set(write):
    line = fault(write(CHAIN), "train.steps=10")
    assert "stages.NAME.train.steps" in line
    assert "sft, pretrain" in line


def test_a_fault_inside_a_stage_has_its_whole_path(write):
    line = fault(write(CHAIN), "stages.sft.train.stesp=1")
    assert "unknown field 'stages.sft.train.stesp'" in line
    assert "did you mean 'steps'?" in line


def test_no_such_recipe(tmp_path):
    assert "no such recipe" in fault(tmp_path / "none.toml")
    assert "did you mean 'poems-quick'?" in fault("poem-quick")


@pytest.mark.parametrize("content", [b"steps = [", b"\xff\xfe\x00", b"a = 1\na = 2"])
def test_not_toml(tmp_path, content):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    assert "not valid TOML" in fault(path)


def test_a_folder_is_not_a_recipe(tmp_path):
    assert "no such recipe" in fault(tmp_path)


@pytest.mark.parametrize("name", ["poems-quick", "poems", "poems-long", "code"])
def test_shipped_recipes_read_and_round_trip(name):
    assert name in shipped()
    for recipe in load_recipe(name).stages.values():
        assert Recipe.model_validate(tomllib.loads(to_toml(recipe.plain()))) == recipe


@pytest.mark.parametrize("rows", ["text", "image", "chat"])
def test_a_recipe_that_holds_nothing_out_is_refused_before_anything_is_collected(write, rows):
    path, sets = write(SMALL), ["data.collect.valid_fraction=0", f"data.rows={rows!r}"]
    with pytest.raises(RecipeError, match=r"set collect\.valid_fraction above 0"):
        load_recipe(path, sets)
    made = [*sets[:1], "data.rows='scenes'"]
    assert load_recipe(path, made).stages["small"].data.rows == "scenes"  # which hold out what they make


def test_round_trip_of_a_recipe_with_everything(write):
    sets = ["objective={name='x', options={smoothing=0.1, on=true}}", 'watch.prompts=["a\\nb","\\u007f“é”"]']
    sets += ["sample={temperature=0.5, stop=['x']}", 'parts={"odd key"="@run"}', "train.ema_halflife=1e-5"]
    recipe = load_recipe(write(SMALL), sets).stages["small"]
    text = to_toml(recipe.plain())
    assert Recipe.model_validate(tomllib.loads(text)) == recipe
    assert to_toml(tomllib.loads(text)) == text


scalars = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
leaves = scalars | texts
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


@given(st.dictionaries(texts, values, max_size=4))
def test_toml_round_trip(data):
    assert tomllib.loads(to_toml(data)) == data


def test_schema_knows_fields_and_stages():
    schema = recipe_schema()
    assert schema["anyOf"][0]["properties"]["train"]["$ref"] == "#/$defs/TrainConfig"
    assert "hidden_size" in schema["$defs"]["LanguageConfig"]["properties"]
    assert schema["$defs"]["Stages"]["properties"]["stages"]["minProperties"] == 1
    assert schema["anyOf"][0]["additionalProperties"] is False


def test_reading_a_recipe_needs_no_torch():
    code = "import sys; from makar.recipes.load import load_recipe; load_recipe('poems'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

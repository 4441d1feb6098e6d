"""The run folder: begun once, resumed with the same recipe, refused with another; the workspace that finds runs."""

import json
import subprocess
import tomllib

import pytest

import makar
from makar.core.errors import RecipeError, ResourceError, RunError
from makar.recipes import manifest
from makar.recipes.run import Run, Workspace, difference

RECIPE = {"seed": 1, "train": {"steps": 10, "optimizer": {"name": "adamw"}}, "data": {"sources": ["a"]}}


def test_begin_writes_recipe_and_manifest_and_counts_resumes(tmp_path):
    run = Run(tmp_path / "deep" / "run")
    assert not run.finished
    run.begin(RECIPE, {"name": "x"})
    assert tomllib.loads((run.folder / "recipe.toml").read_text()) == RECIPE
    first = run.manifest
    assert first["name"] == "x"
    assert "resumed" not in first
    run.begin(RECIPE, {"name": "another"})
    assert run.manifest["name"] == "x"
    assert run.manifest["started"] == first["started"]
    assert len(run.manifest["resumed"]) == 1


def test_a_changed_recipe_is_refused_and_changes_nothing(tmp_path):
    run = Run(tmp_path)
    run.begin(RECIPE, {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    changed = {**RECIPE, "train": {"steps": 20, "optimizer": {"name": "muon"}}}
    with pytest.raises(RunError, match=r"train\.steps was 10, now it is 20.*--run") as caught:
        run.begin(changed, {})
    assert caught.value.exit_code == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_run_killed_between_its_two_first_files_begins_again(tmp_path):
    run = Run(tmp_path)
    run.begin(RECIPE, {"name": "x"})
    (tmp_path / "manifest.json").unlink()
    run.begin(RECIPE, {"name": "x"})
    assert "resumed" not in run.manifest


def test_notes_are_added_and_the_end_is_one_of_them(tmp_path):
    run = Run(tmp_path)
    run.begin(RECIPE, {"name": "x"})
    run.note(outcome={"loss": 1.5})
    assert not run.finished
    run.note(finished=manifest.now())
    assert run.finished
    assert run.manifest["outcome"] == {"loss": 1.5}


def test_no_permission_is_said(tmp_path, monkeypatch):
    def denied(*_args, **_kwargs):
        raise PermissionError(13, "denied")

    monkeypatch.setattr("pathlib.Path.mkdir", denied)
    with pytest.raises(ResourceError, match="no permission"):
        Run(tmp_path / "x").begin(RECIPE, {})


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (RECIPE, None),
        ({**RECIPE, "seed": 2}, ("seed", 1, 2)),
        ({**RECIPE, "init": "@x"}, ("init", "absent", "@x")),
        ({"seed": 1, "train": RECIPE["train"]}, ("data", {"sources": ["a"]}, "absent")),
        ({**RECIPE, "train": 3}, ("train", RECIPE["train"], 3)),
    ],
)
def test_difference(after, found):
    assert difference(RECIPE, after) == found


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path)
    for name, facts in {"done": {"finished": "x"}, "chain/sft": {"finished": "x"}, "half": {}}.items():
        workspace.run(name).begin(RECIPE, facts)
        workspace.run(name).model.mkdir()
    return workspace


def test_models_are_found_by_run_and_by_folder(workspace, tmp_path):
    assert workspace.model("@done") == tmp_path / "runs/done/model"
    assert workspace.model("@chain/sft") == tmp_path / "runs/chain/sft/model"
    assert workspace.model(f"@{tmp_path}/runs/done") == tmp_path / "runs/done/model"
    assert workspace.model(str(tmp_path / "runs/done")) == tmp_path / "runs/done/model"
    assert workspace.model(str(tmp_path / "runs/done/model")) == tmp_path / "runs/done/model"


def test_a_recipe_of_several_stages_is_its_last_finished_one(workspace, tmp_path):
    chain = workspace.run("chain").folder
    (chain / "stages.json").write_text('["base", "sft", "align"]')
    for reference in ("@chain", str(chain), f"@{chain}"):
        assert workspace.model(reference) == chain / "sft/model"
    workspace.run("chain/align").begin(RECIPE, {"finished": "x"})
    workspace.run("chain/align").model.mkdir()
    for reference in ("@chain", str(chain)):
        assert workspace.model(reference) == chain / "align/model"
    fresh = workspace.run("fresh")
    fresh.folder.mkdir()
    (fresh.folder / "stages.json").write_text('["base"]')
    workspace.run("fresh/base").begin(RECIPE, {})
    for reference in ("@fresh", str(fresh.folder)):
        with pytest.raises(RunError, match="base: the run has not finished"):
            workspace.model(reference)


@pytest.mark.parametrize(
    ("reference", "kind", "said"),
    [
        ("@dnoe", RecipeError, "did you mean '@done'"),
        ("@zzz", RecipeError, "@chain/sft, @done, @half"),
        ("@half", RunError, "has not finished"),
        ("{root}/runs/half", RunError, "has not finished"),
        ("nowhere", RecipeError, "no such model folder"),
    ],
)
def test_models_that_are_not_there(workspace, tmp_path, reference, kind, said):
    with pytest.raises(kind, match=said):
        workspace.model(reference.format(root=tmp_path))


def test_commit_is_of_our_own_checkout_only(tmp_path, monkeypatch):
    """Installed below somebody else's repository, makar has no commit of its own."""

    def git(*arguments):
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True)

    inside = tmp_path / "site" / "makar" / "__init__.py"
    inside.parent.mkdir(parents=True)
    inside.write_text("")
    monkeypatch.setattr(makar, "__file__", str(inside))
    git("init")
    git("commit", "--allow-empty", "-m", "x")
    manifest.commit.cache_clear()
    assert manifest.commit() is None
    git("add", ".")
    git("commit", "-m", "y")
    manifest.commit.cache_clear()
    clean = manifest.commit()
    assert clean is not None
    assert len(clean) == 40
    inside.write_text("changed")
    manifest.commit.cache_clear()
    assert manifest.commit() == clean + "+changes"
    manifest.commit.cache_clear()


def test_hash_does_not_depend_on_the_order_of_keys():
    assert manifest.hash_of({"a": 1, "b": [2]}) == manifest.hash_of(json.loads('{"b": [2], "a": 1}'))
    assert manifest.hash_of({"a": 1}) != manifest.hash_of({"a": 1.5})

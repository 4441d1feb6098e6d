import json
import zipfile

import pytest

from makar.core.errors import ModelError, RecipeError, SourceError, UserError
from makar.core.files import sha256, write_json
from makar.engine.load import open_model
from makar.interop import known
from makar.interop.gguf_write import write_gguf
from makar.interop.hub import hub_model, is_hub_id
from makar.interop.known import KNOWN, Known, find_model, is_named
from makar.recipes.run import Workspace
from tests.interop.conftest import build

SOURCE = "pypi:tiny-model==1.0"


@pytest.fixture
def package(bpe, tmp_path, monkeypatch):
    """A cache that holds a package with a tiny model, as if pip had just brought it; the names of the wheel's files."""
    monkeypatch.setenv("MAKAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    write_gguf(build(bpe), tmp_path / "tiny.gguf")

    def made(*names: str) -> str:
        folder = tmp_path / "cache" / "pypi" / "tiny-model-1.0"
        folder.mkdir(parents=True)
        wheel = folder / "tiny_model-1.0-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name in names:
                archive.write(tmp_path / "tiny.gguf", name)
            archive.writestr("tiny/notes.txt", "a model")
        write_json(folder / "record.json", {"file": wheel.name, "sha256": sha256(wheel), "licence": "MIT"})
        return sha256(tmp_path / "tiny.gguf")

    return made


def test_a_package_is_imported_once_and_opened_from_the_cache_after(package, tmp_path):
    digest, said = package("tiny/m.gguf"), []
    folder = find_model(SOURCE, said.append)
    assert said == [f"fetching {SOURCE}", f"m: licence MIT, SHA-256 {digest}, from {SOURCE}"]
    assert open_model(folder).parts["codec"].end_id == 0
    card = (folder / "README.md").read_text()
    assert digest in card
    assert 'license: "mit"' in card
    assert find_model(SOURCE, said.append) == folder
    assert len(said) == 2
    assert [path.name for path in (tmp_path / "cache" / "models").iterdir()] == [folder.name]


def test_a_known_name_is_what_the_table_says_or_refused(package, monkeypatch):
    digest = package("tiny/m.gguf", "tiny/other.gguf")
    entry = Known(f"{SOURCE}/tiny/m.gguf", digest, "Apache-2.0", "Tiny by Us")
    monkeypatch.setattr(known, "KNOWN", {"tiny": entry, "forged": Known(entry.source, "0" * 64, "MIT", "Tiny")})
    with pytest.raises(SourceError, match="another file than it should"):
        find_model("forged")
    said = []
    folder = find_model("tiny", said.append)
    assert said[-1] == f"Tiny by Us: licence Apache-2.0, SHA-256 {digest}, from {entry.source}"
    assert Workspace().model("tiny") == folder
    with pytest.raises(ModelError, match="no such model or run; did you mean 'tiny'"):
        find_model("tinny")


@pytest.mark.parametrize(
    ("names", "source", "said"),
    [
        (("a.gguf", "b.gguf"), SOURCE, "several GGUF files"),
        ((), SOURCE, "no such GGUF file"),
        (("a.gguf",), f"{SOURCE}/b.gguf", "no such GGUF file"),
        ((), "pypi:tiny-model", "not a package source"),
    ],
)
def test_a_package_without_that_one_model_is_refused(package, names, source, said, tmp_path):
    package(*names)
    with pytest.raises(SourceError, match=said):
        find_model(source)
    assert not list((tmp_path / "cache").glob("models/*"))


def test_folders_and_runs_come_before_names(package, bpe, tmp_path):
    folder = tmp_path / "runs" / "smollm2" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert find_model("smollm2").absolute() == folder
    with pytest.raises(ModelError, match=r"tiny.gguf: is a GGUF file.*makar import tiny.gguf FOLDER"):
        find_model("tiny.gguf")
    with pytest.raises(RecipeError, match="no such model folder"):
        Workspace().model("nowhere")


def test_the_table_names_files_of_packages():
    for entry in KNOWN.values():
        assert entry.source.startswith("pypi:")
        assert len(entry.sha256) == 64
    assert is_named("smollm2")
    assert not is_named("nowhere")


def test_names_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("owner/name")
    assert is_hub_id("hf:anything at all")
    (tmp_path / "runs").mkdir()
    assert not is_hub_id("runs/name")
    assert not is_hub_id("a/b/c")
    with pytest.raises(SourceError, match="not the name of a model"):
        hub_model("what is this", print)


def test_the_hub_is_asked_by_its_own_client(tmp_path, monkeypatch, bpe):
    hub = pytest.importorskip("huggingface_hub")
    build(bpe).family.folder.save(build(bpe), tmp_path)

    class Info:
        sha, card_data = "abc", {"license": "mit"}

    asked, said = [], []
    monkeypatch.setattr(hub.HfApi, "model_info", lambda self, name: Info())
    monkeypatch.setattr(
        hub, "snapshot_download", lambda name, **how: asked.append((name, how["revision"])) or str(tmp_path)
    )
    assert find_model("hf:owner/name", said.append) == tmp_path
    assert asked == [("owner/name", "abc")]
    assert said == ["owner/name: licence mit, commit abc, from the hub"]

    def unreachable(self, name):
        raise OSError("no route")

    monkeypatch.setattr(hub.HfApi, "model_info", unreachable)
    with pytest.raises(SourceError, match="none could be had from the hub: OSError; check the path"):
        find_model("owner/name")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"client is not installed; .*makar\[hub\]"):
        find_model("owner/name")


def test_what_an_import_writes_is_a_folder_of_the_ecosystem(package):
    package("tiny/m.gguf")
    config = json.loads((find_model(SOURCE) / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]

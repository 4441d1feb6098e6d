"""What lies on disk: the runs of a folder, and what any path is, where it comes from, and whether it is intact."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from makar.core.errors import InputError, RunError, UserError
from makar.core.files import locked, read_json, sha256
from makar.recipes.run import Run, Workspace

Facts = dict[str, Any]


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Args:
        name: What a command calls it.
        folder: Where it lies.
        state: "finished", "running", "stopped" or "damaged"; the same `makar train` goes on with a stopped one.
        step: Completed steps.
        steps: Of the whole run.
        loss: Of the last logged step.
        manifest: All that is known of it.
    """

    name: str
    folder: Path
    state: str
    step: int
    steps: int
    loss: float | None
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class Inspection:
    """What something is.

    Args:
        kind: In a word or two.
        path: Where it lies.
        intact: Whether nothing was found wrong.
        faults: What was.
        facts: What it holds and where it comes from.
    """

    kind: str
    path: Path
    intact: bool
    faults: Sequence[str]
    facts: Mapping[str, Any]


def runs(workspace: Workspace) -> list[RunState]:
    """Every run, the newest last."""
    folders = [path.parent for path in workspace.runs.glob("**/recipe.toml")]
    found: list[RunState] = []
    for folder in folders:
        name = str(folder.relative_to(workspace.runs))
        try:
            found.append(state_of(Run(folder), name))
        except (UserError, KeyError, TypeError):  # one spoilt file hides no other run
            found.append(RunState(name, folder, "damaged", step=0, steps=0, loss=None, manifest={}))
    return sorted(found, key=lambda run: str(run.manifest.get("started")))


def find_run(name: str | Path, workspace: Workspace) -> RunState:
    """The run of a name or in a folder.

    Raises:
        RunError: There is none, with the names there are.
    """
    for folder in (Path(name), workspace.runs / name):
        if (folder / "recipe.toml").is_file():
            home = workspace.runs.absolute()
            inside = folder.absolute().is_relative_to(home)
            return state_of(Run(folder), str(folder.absolute().relative_to(home) if inside else folder))
    known = ", ".join(run.name for run in runs(workspace)) or "none"
    raise RunError("no such run", where=workspace.runs, value=str(name), fix=f"the runs here are: {known}")


def state_of(run: Run, name: str) -> RunState:
    """Where a run stands, from its files alone."""
    from makar.recipes.load import read_toml
    from makar.train.metrics import loss_of, read_metrics

    logged = read_metrics(run.metrics) if run.metrics.is_file() else []
    losses = [loss for line in logged if (loss := loss_of(line)) is not None]
    state = "finished" if run.finished else "running" if locked(run.folder) else "stopped"
    return RunState(
        name=name,
        folder=run.folder,
        state=state,
        step=logged[-1]["step"] + 1 if logged else 0,
        steps=read_toml(run.folder / "recipe.toml")["train"]["steps"],
        loss=losses[-1] if losses else None,
        manifest=run.manifest,
    )


# Inspection -------------------------------------------------------------------------------------------------


@dataclass
class Findings:
    """What an inspection has found so far."""

    facts: Facts = field(default_factory=dict[str, Any])
    faults: list[str] = field(default_factory=list[str])

    def check(self, work: Callable[[], Facts | None]) -> None:
        """Look at one thing: what it gives are facts, what it raises is a fault."""
        try:
            self.facts |= work() or {}
        except UserError as fault:
            self.faults.append(str(fault))


def inspect(path: Path) -> Inspection:
    """Say what a path is.

    Raises:
        InputError: There is nothing.
    """
    if not path.exists():
        raise InputError("no such file or folder", where=path, fix="check the path")
    found = Findings()
    kind, work = next((kind, work) for kind, knows, work in KINDS if knows(path))
    work(path, found)
    return Inspection(kind, path, not found.faults, found.faults, found.facts)


def inspect_run(path: Path, found: Findings) -> None:
    """A run: its checkpoints against their hashes, its model, its recipe against the manifest's hash."""
    found.check(lambda: plain_state(find_run(path, Workspace())))
    found.check(lambda: recipe_of(path))
    for checkpoint in sorted((path / "checkpoints").glob("step-*")):
        found.check(lambda checkpoint=checkpoint: check_checkpoint(checkpoint))
    if (path / "model").is_dir():
        inspect_model(path / "model", found)


def plain_state(run: RunState) -> Facts:
    """A run's state and all of its manifest."""
    return {"state": run.state, "step": run.step, "steps": run.steps, "loss": run.loss, **run.manifest}


def recipe_of(path: Path) -> Facts:
    """The recipe of a run, checked against the hash in its manifest."""
    from makar.recipes.load import read_toml
    from makar.recipes.manifest import hash_of

    recipe = read_toml(path / "recipe.toml")
    wanted = Run(path).manifest.get("recipe")
    if wanted is not None and hash_of(recipe) != wanted:
        fix = "restore the file: the run began with another"
        raise RunError("the recipe is not the one that the manifest names", where=path / "recipe.toml", fix=fix)
    return {}


def check_checkpoint(path: Path) -> Facts:
    """One checkpoint against its hashes."""
    from makar.train.checkpoint import verified

    verified(path)
    return {"checkpoint": path.name}


def inspect_model(path: Path, found: Findings) -> None:
    """A model folder: every tensor against its config, and what it is."""

    def opened() -> Facts:
        from makar.engine.load import open_model

        model = open_model(path)
        return {
            "family": model.family.name,
            "parameters": sum(p.numel() for p in model.net.parameters()),
            "parts": sorted(model.parts),
            "generation": dict(model.generation),
        }

    found.check(opened)
    files = sorted(path.rglob("*.safetensors"))  # a pipeline's parts lie in folders of their own
    found.facts["sha256"] = {str(file.relative_to(path)): sha256(file) for file in files}


def inspect_dataset(path: Path, found: Findings) -> None:
    """A dataset: every shard against its hash, and its manifest."""
    from makar.data.dataset import Dataset

    def opened() -> Facts:
        dataset = Dataset.open(path)
        return {"hash": dataset.hash, "manifest": dataset.manifest}

    def whole(shard: Path, wanted: str) -> None:
        if not shard.is_file() or sha256(shard) != wanted:
            raise InputError("a shard is missing or damaged", where=shard, fix="collect it again")

    found.check(opened)
    for shard in found.facts["manifest"].shards if found.facts else ():
        found.check(lambda shard=shard: whole(path / shard.path, shard.sha256))


def inspect_tokens(path: Path, found: Findings) -> None:
    """Token shards: every file against its hash."""

    def opened() -> Facts:
        from makar.data.tokens import TokenShards

        meta = read_json(path / "meta.json")
        shards = TokenShards.open(path, meta.get("tokenizer"))
        return {"tokens": shards.tokens, "documents": shards.documents, "tokenizer": meta["tokenizer"]}

    found.check(opened)


def inspect_pixels(path: Path, found: Findings) -> None:
    """Pixel shards: every file against its hash."""

    def opened() -> Facts:
        from makar.data.pixels import PixelShards

        shards = PixelShards.open(path)
        return {"pictures": shards.rows, "shape": shards.shape, "classes": shards.classes}

    found.check(opened)


def inspect_tensors(path: Path, found: Findings) -> None:
    """A tensor file: whether it reads, and the shape of each tensor."""

    def opened() -> Facts:
        from makar.core.tensors import load_tensors, tensor_metadata

        tensors = load_tensors(path)
        shapes = {name: f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for name, t in tensors.items()}
        return {"metadata": tensor_metadata(path), "tensors": shapes}

    found.check(opened)
    inspect_file(path, found)


def inspect_gguf(path: Path, found: Findings) -> None:
    """A GGUF file: whether its header holds, what it says of the model, and the packing and shape of each tensor."""

    def opened() -> Facts:
        from makar.interop.gguf_file import open_gguf

        file = open_gguf(path)
        said = {key: value for key, value in file.metadata.items() if not isinstance(value, list)}
        tensors = {name: f"{stored.kind.name} {list(stored.shape)}" for name, stored in file.tensors.items()}
        return {"metadata": said, "tensors": tensors}

    found.check(opened)
    inspect_file(path, found)


def inspect_picture(path: Path, found: Findings) -> None:
    """A PNG file: whether a byte of it has changed, what it says made it, and who signed that."""
    from makar.codecs import png, signing
    from makar.recipes.provenance import ROWS, read_provenance

    data, signature = path.read_bytes(), signing.Signature("none")
    try:
        signs = png.MANIFEST in [kind for kind, _ in png.chunks(data)]
    except ValueError as fault:
        found.faults.append(f"{path}: the file is damaged: {fault}; copy it again")
        signs = png.MANIFEST in data
    if signs:
        signature = signing.signature_of(data) if signing.available() else signing.Signature("unread")
    if signature.state == "broken":
        found.faults.append(f"{path}: the file is not what was signed ({', '.join(signature.faults)}); copy it again")
    said = {"unread": "pip install 'makar[c2pa]' to check it"}.get(signature.state, signature.by)
    found.facts |= {"signature": signature.state + (f": {said}" if said else "")}
    if ROWS in png.texts_of(data):

        def told() -> Facts:
            source = read_provenance(data, path)
            return {"pictures": list(source.rows), "made_by": dict(source.made), "recipe": source.recipe or ""}

        found.check(told)
    inspect_file(path, found)


def inspect_recipe(path: Path, found: Findings) -> None:
    """A recipe: whether it reads, and its stages."""

    def opened() -> Facts:
        from makar.recipes.load import load_recipe

        return {"stages": {name: stage.plain() for name, stage in load_recipe(path).stages.items()}}

    found.check(opened)
    inspect_file(path, found)


def inspect_file(path: Path, found: Findings) -> None:
    """Any file: its size and hash."""
    found.facts |= {"bytes": path.stat().st_size, "sha256": sha256(path)}


def inspect_folder(path: Path, found: Findings) -> None:
    """Any folder: what is in it."""
    files = [file for file in path.rglob("*") if file.is_file()]
    found.facts |= {"files": len(files), "bytes": sum(file.stat().st_size for file in files)}


KINDS: Sequence[tuple[str, Callable[[Path], bool], Callable[[Path, Findings], None]]] = (
    ("run", lambda p: (p / "recipe.toml").is_file(), inspect_run),
    ("dataset", lambda p: (p / "manifest.json").is_file() and (p / "train").is_dir(), inspect_dataset),
    ("token shards", lambda p: (p / "meta.json").is_file() and (p / "offsets.bin").is_file(), inspect_tokens),
    ("pixel shards", lambda p: (p / "meta.json").is_file() and (p / "pixels-00000.bin").is_file(), inspect_pixels),
    ("adapter", lambda p: (p / "adapter_config.json").is_file(), inspect_model),
    ("model", lambda p: any((p / name).is_file() for name in ("config.json", "model_index.json")), inspect_model),
    ("folder", Path.is_dir, inspect_folder),
    ("tensor file", lambda p: p.suffix == ".safetensors", inspect_tensors),
    ("picture", lambda p: p.suffix.lower() == ".png", inspect_picture),
    ("GGUF file", lambda p: p.suffix == ".gguf", inspect_gguf),
    ("recipe", lambda p: p.suffix == ".toml", inspect_recipe),
    ("file", lambda p: True, inspect_file),  # noqa: ARG005
)
"""The kinds of thing by the first question that a path answers with yes."""

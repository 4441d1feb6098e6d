"""The model card: what a model was made from, how, how well, and where it ends; written from the run's manifest."""

from collections.abc import Mapping, Sequence
from typing import Any

from makar.core.files import write_atomic
from makar.recipes.run import Run

Facts = Mapping[str, Any]

LIBRARIES = {"language": "transformers", "diffusion": "diffusers"}
"""What else opens a model of each family."""

SHOWN = 12
"""Sources that the card names; the manifest names all."""


def write_card(run: Run) -> None:
    """Write `model/README.md` of a finished run anew, say after an evaluation was added to its manifest."""
    write_atomic(run.model / "README.md", card(run.manifest))


def card(manifest: Facts) -> str:
    """A model card.

    Args:
        manifest: Of the run; what it does not say is left out.
    """
    family = manifest.get("family", "model")
    library = "peft" if "trained" in manifest else LIBRARIES.get(family)
    head = [
        "---",
        "tags:",
        "- makar",
        f"- {family}",
        f"library_name: {library}" if library else "",
        "---",
    ]
    sections = [
        ("", opening(manifest)),
        ("Data", data(manifest.get("data", {}), manifest.get("tokens", {}))),
        ("Training", training(manifest)),
        ("Evaluation", evaluation(manifest)),
        ("Limits", limits(manifest)),
    ]
    body = [f"## {title}\n\n{text}" if title else text for title, text in sections if text]
    return "\n".join(line for line in head if line) + "\n\n" + "\n\n".join(body) + "\n"


def opening(manifest: Facts) -> str:
    """Name, kind and size."""
    size = f" of {manifest['parameters']:,} parameters" if "parameters" in manifest else ""
    if "trained" in manifest:
        size += f" ({manifest['trained']:,} of them are trained: an adapter over the model that it begins from)"
    text = f"# {manifest['name']}\n\nA {manifest.get('family', '')} model{size}, made with makar"
    text += f" {manifest['code']['makar']} from the recipe `recipe.toml` of its run."
    for reference, parent in manifest.get("parent", {}).items():
        text += f"\nIt begins from, or has a part of, `{reference}` ({', '.join(parent['weights'].values())[:16]}…)."
    return text


def data(found: Facts, tokens: Facts) -> str:
    """Sources with their licences, and what was kept and dropped."""
    if not found:
        return ""
    sources = found["sources"]
    rows = [(f"`{s['name']}`", s["licence"], f"{s['bytes']:,}", f"`{s['sha256'][:16]}…`") for s in sources[:SHOWN]]
    if len(sources) > SHOWN:
        rows.append((f"and {len(sources) - SHOWN} more, in the dataset's manifest", "", "", ""))
    counted = {"read": found["read"], **{f"kept: {name}": count for name, count in found["kept"].items()}}
    counted |= {f"dropped: {reason}": count for reason, count in found.get("dropped", {}).items()}
    counts = [(name, f"{count['documents']:,}", f"{count['bytes']:,}") for name, count in counted.items()]
    parts = [
        table(("source", "licence as declared", "bytes", "SHA-256"), rows),
        table(("", "documents", "bytes"), counts),
    ]
    if tokens:
        parts.append(f"{tokens['train']:,} tokens to train on, {tokens['valid']:,} to validate.")
    parts += [f"- {note}" for note in found.get("notes", [])]
    return "\n\n".join([*parts, f"The dataset's SHA-256 is `{found['hash']}`."])


def training(manifest: Facts) -> str:
    """Steps, time, machine and versions."""
    outcome, code = manifest.get("outcome", {}), manifest["code"]
    rows = [
        ("seed", manifest["seed"]),
        ("recipe, SHA-256", f"`{manifest['recipe']}`"),
        ("started", manifest["started"]),
    ]
    if outcome:
        rows += [
            ("steps", f"{outcome['step']:,}"),
            ("weights kept are those of step", f"{outcome['weights_of_step']:,}"),
        ]
        rows += [("seconds of training", f"{outcome['training_seconds']:,.0f}")]
        rows += [("averaged over steps, half-life", manifest["averaged"])] if manifest.get("averaged") else []
        length = manifest.get("averaged_share")
        rows += [("averaged over a share of the steps", length)] if length else []
        rows += [("ended early", outcome["ended_early"])] if outcome.get("ended_early") else []
    decisions = manifest.get("decisions", {})
    rows += [(name, decisions[name]) for name in ("precision", "threads", "processes") if name in decisions]
    rows += [("machine", manifest["machine"]["processor"])] if "machine" in manifest else []
    rows += [("Python, torch", f"{code['python']}, {code['torch']}"), ("makar's commit", code["commit"] or "not known")]
    return table(("", ""), [(name, str(value)) for name, value in rows])


def evaluation(manifest: Facts) -> str:
    """Numbers of the validation at the end, and of every evaluation since."""
    outcome = manifest.get("outcome", {})
    rows = [("last training loss, nats", outcome.get("training_loss"))]
    rows += [(f"validation {name.replace('_', ' ')}", v) for name, v in outcome.get("validation", {}).items()]
    rows += [(name.replace("_", " "), value) for name, value in manifest.get("evaluation", {}).items()]
    return table(("", ""), [(name, f"{value:.4f}") for name, value in rows if isinstance(value, int | float)])


def limits(manifest: Facts) -> str:
    """What nobody should expect of it."""
    said = [
        "- It knows only its training data, and repeats that data's errors and leanings. It is not aligned to anybody's"
        " wishes.",
        "- It may repeat passages of its training data word for word: `makar evaluate` counts them.",
        "- What it says of the world is not to be relied on.",
    ]
    if manifest.get("length", 1) > 1:
        unit = manifest.get("units", "units")
        said.append(f"- It was trained on rows of {manifest['length']} {unit}, and is not known beyond.")
    return "\n".join(said)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

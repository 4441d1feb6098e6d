"""Results as text for a person: aligned, short, nothing that `--json` would not say in full."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from makar.app.terminal import plain
from makar.core.errors import shorten

if TYPE_CHECKING:
    from makar.app.again import Again
    from makar.app.anomaly import Score
    from makar.app.feedback import Session
    from makar.app.look import Inspection, RunState
    from makar.app.search import Found
    from makar.data.store import Manifest
    from makar.evaluate.report import Report
    from makar.recipes.plan import Plan


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells in aligned columns; the first row is the head."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def outline(value: Any, depth: int = 0) -> Iterator[str]:
    """Nested facts as indented lines, "name: value"."""
    width = max((len(str(key)) for key, inner in value.items() if not nested(inner)), default=0)
    for key, inner in value.items():
        name = str(key).replace("_", " ")
        if not nested(inner):
            yield f"{'  ' * depth}{name:<{width}}  {said(inner)}"
            continue
        yield f"{'  ' * depth}{name}"
        if isinstance(inner, Mapping):
            yield from outline(inner, depth + 1)
        else:
            for number, each in enumerate(inner, 1):
                yield from outline({str(number): each}, depth + 1)


def nested(value: Any) -> bool:
    """Whether a value needs lines of its own."""
    return bool(value) and (
        isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(each, Mapping) for each in value))
    )


def said(value: Any) -> str:
    """A plain value on one line."""
    if isinstance(value, list):
        return ", ".join(map(said, value)) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shorten(str(value), 160)[1:-1] if value else "none"


def facts(value: Any) -> str:
    """Any result as an outline."""
    return "\n".join(outline(plain(value)))


def manifest_text(manifest: "Manifest") -> str:
    """What was read, dropped and kept, a line each; all of it counted in the bytes that were read."""
    counts = {
        "read": manifest.read,
        **{f"dropped: {reason}": count for reason, count in manifest.dropped.items()},
        **{f"kept: {split}": count for split, count in manifest.kept_raw.items()},
    }
    rows = [(name, f"{count.documents:>12,}", f"{count.bytes:>14,}") for name, count in counts.items()]
    notes = [f"note: {note}" for note in manifest.notes]
    return "\n".join([table([("", f"{'documents':>12}", f"{'bytes':>14}"), *rows]), *notes])


def plans_text(plans: "Mapping[str, Plan]") -> str:
    """What each stage needs."""
    return "\n\n".join(plan.text for plan in plans.values())


def scores_text(scores: "Sequence[Score]") -> str:
    """How unusual each picture is."""
    rows = [(score.file, f"{score.nats:,.1f}", f"{score.rarer:.1%}") for score in scores]
    return table([("picture", "nats", "held-out pictures that are likelier"), *rows])


def found_text(found: "Sequence[Found]") -> str:
    """The pictures that fit, the best first."""
    rows = [(f"{each.likeness:.3f}", each.id, each.split, each.text or "") for each in found]
    return table([("fits", "picture", "split", "text"), *rows])


def report_text(report: "Report") -> str:
    """The figures of a report, each beside those of real text; what they mean is in evaluation.md."""
    from makar.evaluate.report import shown

    parts = [f"{report.model} on {report.dataset}"]
    for section in report.sections.values():
        columns = list(dict.fromkeys(name for figure in section.figures.values() for name in figure.values))
        rows = [
            (name.replace("_", " "), *(shown(figure.values.get(column), figure.unit) for column in columns))
            for name, figure in section.figures.items()
        ]
        parts.append(table([(section.title, *columns), *rows]))
    return "\n\n".join(parts)


def again_text(made: "Again") -> str:
    """What became of a picture that was made again."""
    if not made.different:
        return f"{made.file}: equal to the first one, bit for bit"
    return f"{made.file}: {made.different} pixels differ from the first one's, by {made.farthest} levels at most"


def runs_text(found: "Sequence[RunState]") -> str:
    """The runs, a line each."""
    if not found:
        return "no runs under ./runs yet: makar train poems-quick makes one"
    head = ("run", "state", "step", "loss", "started")
    rows = [
        (
            run.name,
            run.state,
            f"{run.step}/{run.steps}",
            "" if run.loss is None else f"{run.loss:.4f}",
            str(run.manifest.get("started", "")),
        )
        for run in found
    ]
    return table([head, *rows])


def headline(run: "RunState") -> str:
    """Where a run stands, on one line."""
    loss = "" if run.loss is None else f", loss {run.loss:.4f}"
    return f"{run.name}: {run.state}, step {run.step} of {run.steps}{loss}"


def trained_text(run: "RunState") -> str:
    """A run that has just ended: how, and where its model is."""
    return "\n".join([headline(run), *outline(plain(run.manifest.get("outcome", {})), 1), str(run.folder / "model")])


def run_text(run: "RunState") -> str:
    """A run: where it stands, then all that is known of it."""
    return f"{headline(run)}\n{run.folder}\n\n{facts(run.manifest)}"


def inspection_text(found: "Inspection") -> str:
    """What something is, whether it is intact, and the facts."""
    verdict = "intact" if found.intact else f"{len(found.faults)} fault(s)"
    lines = [f"{found.path}: {found.kind}, {verdict}", *(f"  fault: {fault}" for fault in found.faults)]
    return "\n".join([*lines, "", facts(found.facts)]).rstrip()


def feedback_text(session: "Session") -> str:
    """What came of asking a person."""
    left = f", {session.skipped} left out" if session.skipped else ""
    text = f"{session.added} choices added{left}; {session.total} in {session.store}"
    return f'{text}\nto learn from them: sources = ["{session.snapshot}"]' if session.snapshot else text

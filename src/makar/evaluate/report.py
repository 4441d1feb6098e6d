"""A report: figures beside each other, each with what it means; as JSON and as Markdown."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from makar.core.files import file_atomic, mending, write_atomic

Value = float | int | str | None


@dataclass(frozen=True)
class Figure:
    """One figure of several texts.

    Args:
        meaning: What it is and how to read it, in a line.
        values: By whose it is: "model", "held-out", "bzip2".
        unit: "%" where the values are shares from 0 to 1; a whole number is a count all the same.
    """

    meaning: str
    values: Mapping[str, Value]
    unit: str = ""


@dataclass(frozen=True)
class Section:
    """Figures that belong together.

    Args:
        title: Of a few words.
        note: How it was measured, and what to beware of.
        figures: By name.
    """

    title: str
    note: str
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class Report:
    """What an evaluation found. The same model, dataset and settings give the same report.

    Args:
        model: As the caller named it.
        dataset: Its folder; "" where none was needed.
        dataset_hash: Of its content.
        settings: Of the evaluation, and those of generation as they were in the end.
        sections: By suite.
        samples: Some of what the model wrote, prompts included.
        pictures: Of Pillow, by what they show in a word; each becomes a file beside the report.
        lines: Tables that are too long to read, by what they say in a word; each becomes a file of JSON lines.
    """

    model: str
    dataset: str
    dataset_hash: str
    settings: Mapping[str, Any]
    sections: Mapping[str, Section]
    samples: Sequence[str]
    pictures: Mapping[str, Any] = field(default_factory=dict[str, Any])
    lines: Mapping[str, Sequence[Mapping[str, Value]]] = field(default_factory=dict[str, Sequence[Mapping[str, Value]]])

    def value(self, suite: str, figure: str, of: str = "model") -> Value:
        """One value; None where it was not measured."""
        return self.sections[suite].figures[figure].values.get(of)

    def json(self) -> str:
        """One JSON document; a value beyond all numbers is null."""
        said = asdict(replace(self, pictures={}, lines={}))
        files = {"pictures": {name: picture_file(name) for name in self.pictures}} if self.pictures else {}
        files |= {"lines": {name: lines_file(name) for name in self.lines}} if self.lines else {}
        del said["pictures"], said["lines"]
        return json.dumps(finite(said | files), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def markdown(self) -> str:
        """For a person to read."""
        settings = [f"- {name}: `{json.dumps(value, ensure_ascii=False)}`" for name, value in self.settings.items()]
        parts = [
            f"# Evaluation of {self.model}",
            *(
                [f"Measured against the dataset `{self.dataset}` (SHA-256 `{self.dataset_hash[:16]}…`)."]
                if self.dataset
                else []
            ),
            *(
                part
                for section in self.sections.values()
                for part in (f"## {section.title}", section.note, table(section))
            ),
        ]
        if self.pictures:
            parts += ["## Pictures", *(f"![{name}]({picture_file(name)})" for name in self.pictures)]
        if self.lines:
            parts += ["## Tables", *(f"[{name}]({lines_file(name)})" for name in self.lines)]
        if self.samples:
            parts += ["## Samples", *(indented(sample) for sample in self.samples)]
        return "\n\n".join([*parts, "## Settings", "\n".join(settings)]) + "\n"


def picture_file(name: str) -> str:
    """The file of a report's picture, beside the report."""
    return f"evaluation-{name}.png"


def lines_file(name: str) -> str:
    """The file of a report's long table, beside the report."""
    return f"evaluation-{name}.jsonl"


def table(section: Section) -> str:
    """The figures of a section as a Markdown table, a column for each text that any of them is about."""
    columns = list(dict.fromkeys(name for figure in section.figures.values() for name in figure.values))
    rows = [["", *columns, "what it is"], ["---", *["---:"] * len(columns), "---"]]
    for name, figure in section.figures.items():
        values = [shown(figure.values.get(column), figure.unit) for column in columns]
        rows.append([name.replace("_", " "), *values, figure.meaning])
    safe = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in safe)


def shown(value: Value, unit: str) -> str:
    """A value as it stands in a table."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1%}" if unit == "%" else f"{value:,.3f}"


def indented(text: str) -> str:
    """Text as a Markdown block that nothing in it can end; a comment parts it from the next."""
    return "\n".join(f"    {line}" for line in text.splitlines()) + "\n\n<!-- -->"


def finite(value: Any) -> Any:
    """Plain data with null for infinity and for what is no number."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plain(picture: Any, shown: str, place: Path) -> None:  # noqa: ARG001
    """Write a picture that says nothing of itself."""
    with file_atomic(place) as file:
        picture.save(file, format="PNG")


def write_report(
    report: Report, folder: Path, name: str = "evaluation", draw: Callable[[Any, str, Path], None] = plain
) -> None:
    """Write NAME.json and NAME.md into a run's or a model's folder, and the report's pictures and long tables.

    Args:
        report: What was found.
        folder: Where to.
        name: Of the files.
        draw: Writes a picture, of which it is told what it shows: a caller who knows what made them says so in them.

    Raises:
        ResourceError: No space or no permission.
    """
    with mending(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for shown_as, picture in report.pictures.items():
        draw(picture, shown_as, folder / picture_file(shown_as))
    for said, lines in report.lines.items():
        text = "".join(json.dumps(finite(line), ensure_ascii=False) + "\n" for line in lines)
        write_atomic(folder / lines_file(said), text)
    write_atomic(folder / f"{name}.json", report.json())
    write_atomic(folder / f"{name}.md", report.markdown())

"""What could not be read: told while it happens, counted for the manifest, and listed in quarantine.jsonl."""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from makar.core.say import Say
from makar.data.document import Fault
from makar.data.store import Count, part_notes, plain

TOLD = 5
"""Things of one kind that cannot be read and are told one by one."""

LISTED = 8192
"""The most that are held in memory, and stand in a part of the work."""


@dataclass
class Faults:
    """The faults of a collection under way, since they were last taken.

    Args:
        say: Where the first of each kind are told.
    """

    say: Say
    told: Counter[str] = field(default_factory=Counter[str])
    counts: dict[str, Count] = field(default_factory=dict[str, Count])
    listed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, fault: Fault) -> None:
        """One more."""
        self.counts[fault.reason] = self.counts.get(fault.reason, Count()) + Count(documents=1, bytes=fault.bytes)
        self.listed.append(asdict(fault))
        self.told[fault.reason] += 1
        if self.told[fault.reason] <= TOLD:
            more = "; more of these are only in quarantine.jsonl" if self.told[fault.reason] == TOLD else ""
            self.say(f"{fault.where}: {fault.reason}; {fault.fix}{more}")

    def take(self) -> dict[str, Any]:
        """Counts and list as JSON holds them; from here on they are counted anew."""
        taken = {"faults": plain(self.counts), "quarantine": self.listed}
        self.counts, self.listed = {}, []
        return taken


def write_quarantine(folder: Path, parts: Iterable[Path]) -> None:
    """List what could not be read in a dataset's folder, a line of JSON each, part by part.

    Args:
        folder: Of the dataset, before it is put in place.
        parts: Of the work, whose notes hold what was taken.
    """
    with (folder / "quarantine.jsonl").open("w", encoding="utf-8") as file:
        for part in parts:
            file.writelines(json.dumps(fault, ensure_ascii=False) + "\n" for fault in part_notes(part)["quarantine"])

"""What could not be read: told while it happens, counted for the manifest, and listed for who wants to mend it."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from makar.core.say import Say
from makar.data.document import Fault
from makar.data.store import Count, plain

TOLD = 5
"""Things of one kind that cannot be read and are told one by one."""


@dataclass
class Faults:
    """The faults of a collection under way, since they were last taken.

    Args:
        say: Where the first of each kind are told.
        lists: Whether they are listed too, which takes memory until they are taken.
    """

    say: Say
    lists: bool = False
    told: Counter[str] = field(default_factory=Counter[str])
    counts: dict[str, Count] = field(default_factory=dict[str, Count])
    listed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, fault: Fault) -> None:
        """One more."""
        self.counts[fault.reason] = self.counts.get(fault.reason, Count()) + Count(documents=1, bytes=fault.bytes)
        if self.lists:
            self.listed.append(asdict(fault))
        self.told[fault.reason] += 1
        if self.told[fault.reason] <= TOLD:
            more = "; more of these are only counted" if self.told[fault.reason] == TOLD else ""
            self.say(f"{fault.where}: {fault.reason}; {fault.fix}{more}")

    def take(self) -> dict[str, Any]:
        """Counts and list as JSON holds them; from here on they are counted anew."""
        taken = {"faults": plain(self.counts), "quarantine": self.listed}
        self.counts, self.listed = {}, []
        return taken

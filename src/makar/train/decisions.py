"""What a run measured and decided once, at its first start, and obeys after: such as its precision."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from makar.core.errors import UserError
from makar.core.files import mending, read_sealed, write_sealed
from makar.core.say import Say
from makar.train.checkpoint import newest
from makar.train.distributed import World


@dataclass
class Decisions:
    """Decisions of a run, kept beside its checkpoints.

    Args:
        known: By name.
        folder: The run's.
        world: Its processes, all of which take the word of the first.
    """

    known: dict[str, Any]
    folder: Path
    world: World

    @staticmethod
    def recall(folder: Path, world: World, say: Say) -> "Decisions":
        """What an earlier start of the run decided; nothing at the first.

        Raises:
            RunError: The file of it is damaged, and there is no good checkpoint that says it.
        """
        return Decisions(world.agree(recalled(folder, say) if world.rank == 0 else None), folder, world)

    def note(self, **what: Any) -> None:
        """Write down for later starts."""
        self.known |= self.world.agree(what)
        if self.world.rank == 0:
            with mending(self.folder):
                (self.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            write_sealed(place(self.folder), self.known)


def read_decisions(folder: Path) -> dict[str, Any]:
    """What an earlier start of the run decided; empty at the first.

    Raises:
        RunError: The file is damaged.
    """
    return read_sealed(place(folder)) if place(folder).exists() else {}


def recalled(folder: Path, say: Say) -> dict[str, Any]:
    """What `read_decisions` says or, where the file is damaged, what the newest good checkpoint says of it.

    Raises:
        RunError: There is no such checkpoint.
    """
    try:
        return read_decisions(folder)
    except UserError as fault:
        checkpoint = newest(folder / "checkpoints", say)
        if checkpoint is None:
            raise
        say(f"{fault}; going on with what was decided by step {checkpoint.step}")
        decisions = dict(checkpoint.state["decisions"])
        write_sealed(place(folder), decisions)
        return decisions


def place(folder: Path) -> Path:
    """Where a run keeps them."""
    return folder / "checkpoints" / "decisions.json"

"""What a container may hold: the memory limits of this process's control group and of every group above it.

Both versions of Linux's control groups are read, as https://docs.kernel.org/admin-guide/cgroup-v2.html and its
`cgroup-v1/memory.html` describe them. Elsewhere nothing is found, and nothing limits.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Of version 2 and of 1: what a group may hold, what is held in it and below it, and what of that are idle files."""


class Allowance(NamedTuple):
    """What one group leaves to its processes.

    Args:
        limit: Bytes that they may hold together.
        free: Bytes that they could still get; pages of files that nobody uses count, for the system gives them up.
    """

    limit: int
    free: int


def allowances(root: Path = Path("/")) -> list[Allowance]:
    """Those of the groups that have a limit, the innermost first.

    Args:
        root: Where `/proc` and `/sys` lie.
    """
    found: list[Allowance] = []
    for folder in groups(root):
        for limit, usage, idle in FILES:
            with suppress(OSError, ValueError, KeyError):  # of the other version, or the limit is "max"
                most, held = (int((folder / name).read_text(encoding="ascii")) for name in (limit, usage))
                facts = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
                found.append(Allowance(most, max(0, most - held + int(facts[idle]))))
    return found


def groups(root: Path) -> Iterator[Path]:
    """The folders of the groups that this process belongs to and that may count its memory, each before its parents.

    A container may see its own part of the tree only, and name itself by a path in the whole: `mountinfo` says which.
    """
    with suppress(OSError):
        member = (line.split(":", 2) for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines())
        paths = {name: path for _, names, path in member for name in names.split(",")}
        for line in (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            mount, _, what = line.partition(" - ")
            top, place = mount.split()[3:5]
            kind, _, options = what.split()
            name = {"cgroup2": "", "cgroup": "memory"}.get(kind)
            if name not in paths or (name and name not in options.split(",")):
                continue
            path = PurePosixPath(paths[name])
            seen = path.is_relative_to(top) and ".." not in path.parts
            inner = path.relative_to(top) if seen else PurePosixPath()
            yield from (root / place.lstrip("/") / part for part in (inner, *inner.parents))

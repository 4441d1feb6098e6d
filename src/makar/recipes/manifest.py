"""What a run says of itself: code, machine, data and time, so that anyone can tell what made the model."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import makar


def now() -> str:
    """The time in UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hash_of(plain: Any) -> str:
    """The SHA-256 of plain data, the same whatever the order of its keys."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


@cache
def commit() -> str | None:
    """The commit that makar's code is at, with "+changes" where files differ; None outside a checkout."""
    folder = Path(makar.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", folder, *arguments], check=False, capture_output=True, text=True, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", makar.__file__) is None:  # installed into somebody else's checkout
        return None
    head = git("rev-parse", "HEAD")
    return head and head + ("+changes" if git("status", "--porcelain", "--", ".") else "")


def code_facts() -> dict[str, Any]:
    """The versions that made the run."""
    return {
        "makar": makar.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "platform": platform.platform(),
    }


def run_facts(name: str, recipe: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The manifest of a run at its start."""
    return {"name": name, "recipe": hash_of(recipe), "seed": recipe.get("seed", 0), "code": code_facts(), **more}

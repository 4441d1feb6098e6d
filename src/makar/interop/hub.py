"""Models of the Hugging Face hub, where its client is installed and a network exists."""

import re
from pathlib import Path

from makar.core.errors import SourceError, UserError
from makar.core.say import Say
from makar.interop.origin import UNDECLARED

HUB = "hf:"
WANTED = ("*.json", "*.safetensors", "*.jinja", "README.md")
"""What a model folder needs; pickles are not even fetched."""

ID = re.compile(r"(hf:)?[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Whether a name can be one of the hub: `OWNER/NAME` where no folder OWNER lies here, or anything behind `hf:`."""
    return name.startswith(HUB) or (ID.fullmatch(name) is not None and not Path(name).parent.exists())


def hub_model(name: str, say: Say) -> Path:
    """The folder, in the client's own cache, of a model of the hub.

    Args:
        name: `OWNER/NAME`.
        say: Takes a line with its licence and commit.

    Raises:
        UserError: The client is not installed.
        SourceError: The hub cannot be reached, or has no such model.
    """
    if ID.fullmatch(name) is None:
        raise SourceError("not the name of a model", where=HUB, value=name, fix="write hf:OWNER/NAME")
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError:
        raise UserError(
            "no such model here, and the hub's client is not installed",
            where=name,
            fix="check the path, or pip install 'makar[hub]' to look for it on the hub",
        ) from None
    try:
        found = HfApi().model_info(name)
        licence = (found.card_data.get("license") if found.card_data else None) or UNDECLARED
        say(f"{name}: licence {licence}, commit {found.sha}, from the hub")
        return Path(snapshot_download(name, revision=found.sha, allow_patterns=list(WANTED)))
    except Exception as fault:  # the client raises its own, the network's and the system's errors
        raise SourceError(
            f"no such model here, and none could be had from the hub: {type(fault).__name__}",
            where=name,
            fix="check the path, the name and the network",
        ) from None

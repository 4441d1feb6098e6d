"""A conversation: what a message is, and what is wrong with one that cannot be used.

Rows of data, prompts of a chat and templates all speak of the same thing, so its rules stand here, once.
"""

from collections.abc import Sequence
from typing import Any

ROLES = ("system", "user", "assistant", "tool")
"""Who can speak."""

Message = dict[str, Any]
"""`role` and `content`; an assistant's may call tools instead: `tool_calls`, a list of `{"function": {...}}`.

The content is text, or a list of parts: `{"type": "text", "text": ...}` and `{"type": "image", ...}`.
"""

PARTS = "write its parts as {'type': 'text', 'text': ...} or {'type': 'image', 'path': ...}"


def fault_in(messages: Sequence[Any]) -> tuple[str, str] | None:
    """What is wrong with a conversation, and how to mend it; None where nothing is.

    Args:
        messages: As they were read.

    Returns:
        The fault in a few words that hold no data (faults of a kind are counted together), and the fix.
    """
    if not messages:
        return "a conversation without messages", "give at least one, such as a user's"
    for place, message in enumerate(messages):
        fault = fault_in_speaker(message, first=messages[0] if place else None) or fault_in_content(message)
        if fault is not None:
            return fault
    return None


def fault_in_speaker(message: Any, first: Message | None) -> tuple[str, str] | None:
    """What is wrong with who speaks; `first` is the conversation's first message, if this is not it."""
    if not isinstance(message, dict):
        return "a message is not an object", "write it as {'role': ..., 'content': ...}"
    if "role" not in message:
        return "a message without a role", f"say who speaks: {', '.join(ROLES)}"
    if message["role"] not in ROLES:
        return "an unknown role", f"it is one of {', '.join(ROLES)}"
    if message["role"] == "system" and first is not None:
        if first["role"] == "system":
            return "two system messages", "join them into one at the start"
        return "a system message that is not the first", "put it at the start"
    return None


def fault_in_content(message: Message) -> tuple[str, str] | None:
    """What is wrong with what one message says."""
    content, calls = message.get("content"), message.get("tool_calls")
    if calls is not None and not (isinstance(calls, list) and all(isinstance(call, dict) for call in calls)):
        return "tool_calls is not a list of objects", "write them as [{'function': {'name': ..., 'arguments': ...}}]"
    if content is None and not calls:
        return "a message without content", "give a text"
    if isinstance(content, list):
        return fault_in_parts(message["role"], content)
    if content is not None and not isinstance(content, str):
        return "the content of a message is not text", "give a string"
    if message["role"] == "assistant" and not calls and not (content or "").strip():
        return "an empty completion", "leave the row out, or give what the assistant should say"
    return None


def fault_in_parts(role: str, parts: Sequence[Any]) -> tuple[str, str] | None:
    """What is wrong with a content of texts and pictures."""
    for part in parts:
        match part:
            case {"type": "text", "text": str()} | {"type": "image"}:
                continue
            case _:
                return "a part of a message is neither text nor a picture", PARTS
    if not parts:
        return "a message without content", "give a text"
    if role == "assistant" and pictures_in([{"content": parts}]):
        return "the assistant shows a picture", "let it answer in words: it sees pictures and makes none"
    return None


def pictures_in(messages: Sequence[Any]) -> int:
    """How many parts of a conversation are pictures."""
    contents = (message.get("content") for message in messages if isinstance(message, dict))
    return sum(is_picture(part) for content in contents if isinstance(content, list) for part in content)


def is_picture(part: Any) -> bool:
    """Whether a part of a message's content is a picture."""
    return isinstance(part, dict) and part.get("type") == "image"

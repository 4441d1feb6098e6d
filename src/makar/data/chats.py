"""Rows in the formats of the field to one canonical record, as one line of JSON: what a document of such a kind holds.

| kind | record | read from rows with |
|---|---|---|
| chat | `messages`, `tools` | messages; conversations (ShareGPT); prompt, completion; instruction, output (Alpaca) |
| preference | `prompt`, `chosen`, `rejected` | the same; the prompt may also be what both answers begin with |
| judged | `prompt`, `completion`, `label` | the same (KTO) |
| prompts | `prompt` and whatever else the row has | prompt |

`prompt`, `chosen`, `rejected` and `completion` are lists of messages in the record; a row may give plain text. A chat
whose messages hold pictures is of the kind "talks"; `data.talks.inlined` puts them into the record itself.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

from makar.core.messages import Message, fault_in, is_picture, pictures_in
from makar.data.clean import normalise

Kind = Literal["text", "chat", "preference", "judged", "prompts", "talks"]
"""What the documents of a dataset hold: prose, or records as above."""

Row = Mapping[str, Any]
Record = dict[str, Any]

MARKS: Sequence[tuple[str, Kind]] = (
    ("messages", "chat"), ("chosen", "preference"), ("completion", "judged"), ("prompt", "prompts"),
)  # fmt: skip
"""What a canonical record is, by the first of these fields that it has."""

SPEAKERS = {
    "human": "user", "prompter": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant",
    "chatgpt": "assistant", "function": "tool", "observation": "tool", "ipython": "tool", "developer": "system",
}  # fmt: skip
"""What other formats call who speaks."""

KEPT = ("role", "content", "reasoning_content", "name", "tool_calls", "tool_call_id")
"""What is kept of a message."""

BESIDES = ("id", "group", "source", "system", "tools")
"""What a row says of itself, and is no free field of a prompt."""


class Unfit(Exception):
    """A row that no record can be made of.

    Args:
        reason: A few words without data, the key under which it is counted.
        fix: What a person can do about it.
    """

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix


def recognise(row: Row) -> Callable[[Row], Record] | None:
    """What makes a record of a row, by the fields that it has; None if there is no such format."""
    given = {name for name, value in row.items() if value is not None}
    return next((make for fields, make in FORMATS if given.issuperset(fields)), None)


def as_line(record: Record) -> str:
    """A record as the text of a document."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def kind_of(record: Record) -> Kind:
    """What a canonical record is."""
    if pictures_in(record.get("messages", ())):
        return "talks"
    return next(kind for field, kind in MARKS if field in record)


def normalised(text: str) -> str:
    """A record's line with each message's words in normal form; what it says of tools stays as it is.

    An answer may show code or HTML, so words are treated as program text is: newlines and NFC, no repair.
    """
    record: Record = json.loads(text)
    for message in every_message(record):
        for said in (message, *parts_in(message)):
            for name in ("content", "reasoning_content", "text"):
                if isinstance(said.get(name), str):
                    said[name] = normalise(said[name], code=True)
    return as_line(record)


def parts_in(message: Message) -> list[Any]:
    """The parts of a message whose content is a list of them."""
    return message["content"] if isinstance(message.get("content"), list) else []


def contents(text: str) -> str:
    """All that is said in a record's line, without who says it."""
    return "\n".join(words_in(message) for message in every_message(json.loads(text)))


def words_in(message: Message) -> str:
    """What a message says, less its pictures."""
    if parts := parts_in(message):
        return "".join(part.get("text", "") for part in parts)
    return message.get("content") or ""


def told_apart(text: str) -> str:
    """What duplicates of a record's line are found by: all that is said, and the hash of each picture."""
    parts = (part for message in every_message(json.loads(text)) for part in parts_in(message) if is_picture(part))
    return "\n".join((contents(text), *(sha256(part["url"].encode()).hexdigest() for part in parts)))


def unanswered(record: Record) -> Record:
    """A record of prompts as it is; of a conversation, what comes before the last answer, with that as "answer"."""
    if "prompt" in record:
        return record
    messages = record["messages"]
    last = max(place for place, message in enumerate(messages) if message["role"] == "assistant")
    rest = {name: value for name, value in record.items() if name != "messages"}
    return {"prompt": messages[:last], "answer": messages[last].get("content") or "", **rest}


def every_message(record: Record) -> Iterable[Message]:
    """The messages of all parts of a record, in order."""
    for name in ("messages", "prompt", "completion", "chosen", "rejected"):
        yield from record.get(name, ())


# One function a format ------------------------------------------------------------------------------------


def from_messages(row: Row) -> Record:
    """Messages, as most have it; `conversations` with from and value, as ShareGPT has it."""
    found = row.get("messages")
    return chat(row, messages_of(row["conversations"] if found is None else found))


def from_completion(row: Row) -> Record:
    """A prompt and what follows it."""
    return chat(row, said(row["prompt"], "user") + said(row["completion"], "assistant"))


def from_instruction(row: Row) -> Record:
    """Alpaca: an instruction, its input where it has one, and the output."""
    asked = "\n\n".join(str(row[name]) for name in ("instruction", "input") if row.get(name))
    return chat(row, said(asked, "user") + said(row["output"], "assistant"))


def from_pair(row: Row) -> Record:
    """Two answers, the better first; each may repeat the prompt, and a prompt left out is what both begin with."""
    chosen, rejected = said(row["chosen"], "assistant"), said(row["rejected"], "assistant")
    if row.get("prompt") is not None:
        prompt = said(row["prompt"], "user")
    else:
        pairs = enumerate(zip(chosen, rejected, strict=False))
        same = next((k for k, (a, b) in pairs if a != b), min(len(chosen), len(rejected)))
        prompt = chosen[:same]
        if not prompt:
            raise Unfit("two answers and no prompt", "give a field 'prompt', or the messages that both answer")
    chosen, rejected = (a[len(prompt) :] if a[: len(prompt)] == prompt else a for a in (chosen, rejected))
    if [said_in(message) for message in chosen] == [said_in(message) for message in rejected]:
        raise Unfit("chosen and rejected are equal", "leave the row out: it prefers nothing")
    prompt = asked(row, prompt)
    for answer in (chosen, rejected):
        answering(prompt, answer)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **tools(row)}


def said_in(message: Message) -> object:
    """A message less the white space around what it says, for comparison."""
    return {**message, "content": (message.get("content") or "").strip()}


def from_judged(row: Row) -> Record:
    """One answer and whether it is a good one."""
    prompt, completion = asked(row, said(row["prompt"], "user")), said(row["completion"], "assistant")
    answering(prompt, completion)
    label = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(
        str(row["label"]).lower()
    )
    if label is None:
        raise Unfit("a label that is neither true nor false", "give true or false")
    return {"prompt": prompt, "completion": completion, "label": label, **tools(row)}


def from_prompt(row: Row) -> Record:
    """A prompt alone, with whatever a reward needs to know of it."""
    prompt = asked(row, said(row["prompt"], "user"))
    free = {name: value for name, value in row.items() if value is not None and name not in ("prompt", *BESIDES)}
    try:
        return {"prompt": prompt, **tools(row), **json.loads(json.dumps(free))}
    except (TypeError, ValueError):
        raise Unfit("a field that JSON cannot hold", "give texts, numbers, lists") from None


FORMATS: Sequence[tuple[tuple[str, ...], Callable[[Row], Record]]] = (
    (("chosen", "rejected"), from_pair),
    (("prompt", "completion", "label"), from_judged),
    (("messages",), from_messages),
    (("conversations",), from_messages),
    (("prompt", "completion"), from_completion),
    (("instruction", "output"), from_instruction),
    (("prompt",), from_prompt),
)
"""What makes a record, by the fields that a row must have; the first that fits."""


# Parts of a record ----------------------------------------------------------------------------------------


def chat(row: Row, messages: list[Message]) -> Record:
    """A conversation with an answer in it."""
    messages = opened(row, messages)
    if pictures_in(messages):
        fault = fault_in(messages)
        if fault is not None:
            raise Unfit(*fault)
    else:
        sound(messages)
    if all(message["role"] != "assistant" for message in messages):
        raise Unfit("a conversation in which the assistant says nothing", "leave the row out, or give an answer")
    return {"messages": messages, **tools(row)}


def asked(row: Row, prompt: list[Message]) -> list[Message]:
    """A prompt that waits for the assistant."""
    prompt = sound(opened(row, prompt))
    if prompt[-1]["role"] == "assistant":
        raise Unfit("a prompt that ends with the assistant", "end it with what the assistant is to answer")
    return prompt


def answering(prompt: list[Message], answer: list[Message]) -> None:
    """Refuse what is no answer to a prompt."""
    if not answer or answer[0]["role"] != "assistant":
        raise Unfit("an answer that is not the assistant's", "begin it with a message of the assistant's")
    sound(prompt + answer)


def sound(messages: list[Message]) -> list[Message]:
    """Messages, if nothing is wrong with them."""
    fault = fault_in(messages)
    if fault is not None:
        raise Unfit(*fault)
    if pictures_in(messages):
        raise Unfit("a picture in a row that is no conversation", "give it as messages, which may hold pictures")
    return messages


def opened(row: Row, messages: list[Message]) -> list[Message]:
    """Messages behind the row's own system message, where it has one."""
    return [{"role": "system", "content": row["system"]}, *messages] if row.get("system") else messages


def said(value: Any, role: str) -> list[Message]:
    """What one side says: a text, or messages."""
    return [{"role": role, "content": value}] if isinstance(value, str) else messages_of(value)


def messages_of(value: Any) -> list[Message]:
    """Messages with the names and roles that makar has for them."""
    found = parsed(value)
    if not isinstance(found, list):
        raise Unfit("the messages are not a list", "write them as [{'role': ..., 'content': ...}, ...]")
    return [message_of(message) for message in found]


def message_of(found: Any) -> Message:
    """One message; what else is wrong with it is said by `fault_in` later."""
    if not isinstance(found, dict):
        raise Unfit("a message is not an object", "write it as {'role': ..., 'content': ...}")
    given = {{"from": "role", "value": "content"}.get(name, name): v for name, v in found.items() if v is not None}
    thoughts = next((given[name] for name in ("reasoning_content", "reasoning", "thinking") if name in given), None)
    given |= {"reasoning_content": thoughts} if isinstance(thoughts, str) else {}
    content = given.get("content")
    if isinstance(content, list):
        found = [part_of(part) for part in content]
        plain = all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in found)
        given["content"] = "".join(part["text"] for part in found) if plain else found
    if "tool_calls" in given:
        given["tool_calls"] = parsed(given["tool_calls"]) or None
    if isinstance(given.get("role"), str):
        given["role"] = SPEAKERS.get(given["role"].lower(), given["role"].lower())
    return {name: given[name] for name in KEPT if given.get(name) is not None}


def part_of(part: Any) -> Any:
    """A part of a message; a picture as OpenAI's format has it is one as Hugging Face's has it."""
    match part:
        case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
            return {"type": "image", "url": url}
        case _:
            return part


def tools(row: Row) -> Record:
    """What the assistant may call, where the row says so."""
    found = parsed(row.get("tools")) or None
    if found is not None and not (isinstance(found, list) and all(isinstance(tool, dict) for tool in found)):
        raise Unfit("tools are not a list of objects", "give JSON schemas: [{'type': 'function', 'function': {...}}]")
    return {} if found is None else {"tools": found}


def parsed(value: Any) -> Any:
    """A value that a table holds as JSON, since its columns cannot hold lists."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value

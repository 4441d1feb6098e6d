"""Conversations to token ids: the chat template that travels with a model, and which tokens are the assistant's.

The ids are those that transformers gives, but for one thing: where somebody's content spells a special token, it stays
text. A guard, a character that occurs nowhere else, is put inside such spellings and parts of them before the template
sees them, and taken out when the rendered text has been split at the special tokens that the template itself wrote.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from typing import Any, final

from makar.codecs.bpe import Bpe
from makar.codecs.template import MEND, ChatTemplate
from makar.core.errors import InputError, ModelError
from makar.core.messages import Message, fault_in

Span = tuple[int, int]
"""Where a piece of text begins and ends, in characters."""

ROLE_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
"""What a template may call by the name of its role."""

REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names of what an assistant thought; templates read one of the first two."""


def chat_ids(
    codec: Bpe, template: ChatTemplate, messages: Sequence[Message], tools: Sequence[Any] | None = None
) -> tuple[list[int], list[bool]]:
    """Token ids of a whole conversation, and which of them the assistant has to say.

    Args:
        codec: The tokenizer.
        template: How a conversation is written.
        messages: Who says what, in order.
        tools: What the assistant may call, as JSON schemas.

    Returns:
        Ids as transformers gives them, and a mask that includes the token that ends each of the assistant's turns.

    Raises:
        InputError: The conversation is not one, or nothing in it is the assistant's.
        ModelError: The template is refused, or does not let the assistant's tokens be found.
    """
    writing = Writing.of(codec, template, messages, tools)
    text, spans = writing.marked() if template.marks else writing.compared()
    ids, places = codec.template_tokens(text, writing.guard)
    clean, plain = partial(text.count, writing.guard, 0), text.replace(writing.guard, "")
    mask = [False] * len(ids)
    special = frozenset(codec.special.values())
    for begin, end in ((begin - clean(begin), end - clean(end)) for begin, end in spans):
        inside = range(
            bisect_right(places, begin, key=lambda span: span[1]), bisect_left(places, end, key=lambda s: s[0])
        )
        for k in turn(inside, ids, special, plain, places, exact=template.marks):
            mask[k] = True
    if not any(mask):
        raise InputError("nothing in the conversation is the assistant's", fix="give an assistant's message")
    return ids, mask


def prompt_ids(
    codec: Bpe, template: ChatTemplate, messages: Sequence[Message], tools: Sequence[Any] | None = None
) -> list[int]:
    """Token ids of a conversation up to where the assistant begins to speak; `chat_ids` says the rest.

    Raises:
        InputError: The conversation is not one.
        ModelError: The template is refused.
    """
    writing = Writing.of(codec, template, messages, tools)
    return codec.template_tokens(writing.text(add_generation_prompt=True), writing.guard)[0]


def answer_ids(
    codec: Bpe,
    template: ChatTemplate,
    prompt: Sequence[Message],
    answer: Sequence[Message],
    tools: Sequence[Any] | None = None,
) -> tuple[list[int], list[bool]]:
    """Token ids of a prompt with one answer to it, and which are the answer's: not those of earlier turns.

    Raises:
        InputError: The two are no conversation, or nothing of the answer is the assistant's.
        ModelError: The template is refused, or does not let the assistant's tokens be found.
    """
    ids, mask = chat_ids(codec, template, [*prompt, *answer], tools)
    # Not up to where the prompt for an answer ends: it may end in what the answer lacks, such as an empty thought.
    before = Writing.of(codec, template, prompt, tools)
    earlier = codec.template_tokens(before.text(), before.guard)[0]
    begin = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ids, earlier, strict=False)))
    mask = [learned and place >= begin for place, learned in enumerate(mask)]
    if not any(mask):
        raise InputError("nothing of the answer is the assistant's", value=list(answer), fix="leave it out, or " + MEND)
    return ids, mask


def answered(
    codec: Bpe, template: ChatTemplate, record: Mapping[str, Any], side: str, where: str
) -> tuple[list[int], list[bool]]:
    """`answer_ids` of a record of `data.chats`.

    Args:
        codec: The tokenizer.
        template: How a conversation is written.
        record: Holds `prompt`, an answer, and `tools` if it likes.
        side: The answer's name in it: "chosen", "rejected" or "completion".
        where: The record's own name, for errors.

    Raises:
        InputError: As `answer_ids`, with the record's name.
        ModelError: As `answer_ids`.
    """
    try:
        return answer_ids(codec, template, record["prompt"], record[side], record.get("tools"))
    except InputError as fault:
        raise InputError(fault.what, where=where, value=fault.value, fix=fault.fix) from None


def end_of_turn(codec: Bpe, template: ChatTemplate) -> int:
    """The token by which the assistant says that it has finished.

    Raises:
        ModelError: The template ends a turn with none.
    """
    ids, mask = chat_ids(codec, template, [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}])
    special = frozenset(codec.special.values())
    return next(token for token, learned in reversed([*zip(ids, mask, strict=True)]) if learned and token in special)


@final
@dataclass(frozen=True)
class Writing:
    """One conversation on its way to text.

    Args:
        template: How it is written.
        messages: Plain data, spellings of special tokens guarded.
        variables: What else the template sees.
        guard: The character that guards them.
        marks: Two characters that occur nowhere, for what the assistant writes.
    """

    template: ChatTemplate
    messages: list[Message]
    variables: Mapping[str, Any]
    guard: str
    marks: tuple[str, str]

    @staticmethod
    def of(codec: Bpe, template: ChatTemplate, messages: Sequence[Message], tools: Sequence[Any] | None) -> "Writing":
        """Check a conversation and guard what is in it."""
        fault = fault_in(messages)
        if fault is not None:
            raise InputError(fault[0], value=list(messages), fix=fault[1])
        try:
            plain = json.dumps([messages, tools], ensure_ascii=False)
        except (TypeError, ValueError) as wrong:
            raise InputError(f"the conversation is not plain data: {wrong}", fix="give texts, numbers, lists") from None
        used = frozenset(plain + template.source)
        guard, before, after = islice((c for c in map(chr, range(0xF0000, 0xFFFFE)) if c not in used), 3)
        safe = guarded(json.loads(plain), breaks_of(codec.special), guard)
        roles = {role: content for role in ROLE_TOKENS if (content := spelled(codec.settings.get(role))) is not None}
        return Writing(
            template, [named(message) for message in safe[0]], {**roles, "tools": safe[1]}, guard, (before, after)
        )

    def text(self, count: int | None = None, *, add_generation_prompt: bool = False) -> str:
        """The first so many messages as text."""
        messages = self.messages[:count]
        variables = {**self.variables, "add_generation_prompt": add_generation_prompt}
        return self.template.render(messages, ("", ""), self.guard, **variables)

    def marked(self) -> tuple[str, list[Span]]:
        """The text, and where the template itself says that the assistant writes."""
        variables = {**self.variables, "add_generation_prompt": False}
        pieces = re.split(
            f"([{''.join(self.marks)}])", self.template.render(self.messages, self.marks, self.guard, **variables)
        )
        text, spans, begin = "", list[Span](), 0
        for piece in pieces:
            if piece == self.marks[0]:
                begin = len(text)
            elif piece == self.marks[1]:
                spans.append((begin, len(text)))
            else:
                text += piece
        return text, spans

    def compared(self) -> tuple[str, list[Span]]:
        """The text, and where the assistant writes: what each of its messages adds behind a prompt for it.

        Raises:
            ModelError: The text so far is not how the whole begins: the template writes earlier turns anew.
        """
        whole, spans = self.text(), list[Span]()
        for place, message in enumerate(self.messages):
            if message["role"] == "assistant":
                before = self.text(place, add_generation_prompt=True)
                upto = self.text(place + 1)
                if not (upto.startswith(before) and whole.startswith(upto)):
                    raise ModelError(
                        "the chat template does not say which tokens are the assistant's, and they cannot be found: it "
                        "writes earlier turns anew when later ones come",
                        fix="put {% generation %} and {% endgeneration %} around what the assistant says",
                    )
                spans.append((len(before), len(upto)))
        return whole, spans


def turn(
    inside: range,
    ids: Sequence[int],
    special: frozenset[int],
    text: str,
    places: Sequence[Span],
    *,
    exact: bool,
) -> Iterator[int]:
    """The tokens of one of the assistant's turns, with the one that ends it.

    Args:
        inside: Tokens that lie in what the assistant writes.
        ids: All tokens.
        special: Ids of special tokens, one of which ends a turn.
        text: What they are the tokens of.
        places: Where each lies in it.
        exact: All of them count, as the template says; else nothing behind the end of the turn.

    Raises:
        ModelError: No special token ends the turn, so that a model could not learn to stop.
    """
    if not inside:
        return
    last = next((k for k in reversed(inside) if ids[k] in special), None)
    if last is not None and not text[places[last][1] : places[inside[-1]][1]].strip():
        yield from inside if exact else range(inside[0], last + 1)
        return
    behind = inside[-1] + 1
    if behind == len(ids) or ids[behind] not in special:
        raise ModelError(
            "the chat template ends the assistant's turn with no special token: the model would never stop",
            fix="end it with the tokenizer's end-of-text token, or another special one",
        )
    yield from (*inside, behind)


def breaks_of(names: Iterable[str]) -> re.Pattern[str]:
    """Where a guard must stand so that no part of a text becomes a special token, even beside parts of other texts.

    Inside the first two characters of any, and inside the last two: a template may join what stood apart, take out what
    stood between, or write it in small letters. And behind a first character that ends the text, or would once trimmed.
    """
    pairs = sorted({pair for name in names if len(name) > 1 for pair in (name[:2], name[-2:])})
    firsts = "".join(sorted({re.escape(name[0]) for name in names}))
    inside = [f"(?<={re.escape(left)})(?={re.escape(right)})" for left, right in pairs]
    return re.compile("|".join([*inside, rf"(?<=[{firsts}])(?=\s*\Z)"]) if firsts else r"(?!)", re.IGNORECASE)


def guarded(value: Any, breaks: re.Pattern[str], guard: str) -> Any:
    """Plain data with a guard wherever a special token's spelling, or a part of one, must be broken."""
    if isinstance(value, str):
        return breaks.sub(guard, value)
    if isinstance(value, list):
        return [guarded(item, breaks, guard) for item in value]
    if isinstance(value, dict):
        return {guarded(k, breaks, guard): guarded(item, breaks, guard) for k, item in value.items()}
    return value


def named(message: Message) -> Message:
    """A message as templates expect it: nothing that is None, and thoughts under each name that is in use."""
    said = {key: value for key, value in message.items() if value is not None}
    thoughts = next((said[name] for name in REASONING if name in said), None)
    return said if thoughts is None else {"thinking": thoughts, **said, "reasoning_content": thoughts}


def spelled(token: Any) -> str | None:
    """How the settings of a tokenizer spell a token: as a string, or an object that holds one."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None

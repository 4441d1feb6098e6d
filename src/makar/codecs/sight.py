"""Conversations with pictures: what of a message is a picture, how templates write it, and the places that it takes.

A message's content may be a list of parts, `{"type": "text", "text": ...}` and `{"type": "image", ...}`, as everywhere
in the field. A template writes one image token for each picture; a model reads as many as the picture has patches.
"""

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer

from makar.codecs.bpe import Bpe
from makar.codecs.chat import chat_ids, prompt_ids
from makar.codecs.template import template_of
from makar.core.errors import InputError, ModelError, RecipeError, UserError
from makar.core.messages import Message, is_picture, pictures_in

SIGHTED = """\
{{- bos_token if bos_token != '<|im_start|>' }}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
        {{- message.content if message.content is string else message.content | map(attribute='text') | join }}
        {{- '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {%- if message.content is string %}
            {{- message.content }}
        {%- else %}
            {%- for part in message.content %}
                {{- 'IMAGE' if part.type == 'image' else part.text }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""ChatML whose messages may hold pictures; IMAGE stands for the tokenizer's own image token.

A conversation begins with what opens a text: transformers' processors put it there where a template does not. Some
tokenizers say that a turn's beginning is that, and a turn begins with it anyway.
"""


IMAGE = "<image>"
"""The token that a tokenizer is given which has none."""


def parted(messages: Sequence[Message]) -> tuple[list[Message], list[Any]]:
    """Messages with their pictures taken out, and the pictures in order.

    Args:
        messages: Their content is text, or a list of parts.

    Returns:
        The same in plain data, where a picture is `{"type": "image"}`, and the parts as they were.
    """
    plain, pictures = list[Message](), list[Any]()
    for message in messages:
        content: Any = message.get("content")
        if isinstance(content, list):
            pictures += [part for part in content if is_picture(part)]
            content = joined([{"type": "image"} if is_picture(part) else part for part in content])
        plain.append({**message, "content": content} if "content" in message else message)
    return plain, pictures


def joined(parts: list[Any]) -> Any:
    """The parts of a message; as one text where all of them are."""
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "".join(texts) if len(texts) == len(parts) else parts


def sighted(codec: Bpe, image_token: int) -> Bpe:
    """A tokenizer whose template writes pictures: its own where that does, else ChatML.

    Raises:
        ModelError: Its template writes none, and it lacks the tokens of ChatML.
    """
    if shows(codec, image_token):
        return codec
    if not {"<|im_start|>", "<|im_end|>"} <= codec.special.keys():
        fix = "give a chat_template.jinja that writes the image token for parts of the type 'image'"
        raise ModelError("the chat template writes no pictures", fix=fix)
    return codec.speaking(codec.ends, SIGHTED.replace("IMAGE", spelling(codec, image_token)))


def shows(codec: Bpe, image_token: int) -> bool:
    """Whether a tokenizer's own template writes one image token for a picture."""
    if codec.chat_template is None:
        return False
    content = [{"type": "image"}, {"type": "text", "text": "?"}]
    try:
        ids = prompt_ids(codec, template_of(codec), [{"role": "user", "content": content}])
    except UserError:
        return False
    return ids.count(image_token) == 1


def spelling(codec: Bpe, token: int) -> str:
    """How a special token is written in a template.

    Raises:
        ModelError: It is none.
    """
    for name, number in codec.special.items():
        if number == token:
            return name
    fix = "set image_token_index to one of them"
    raise ModelError("the image token is no special token of the tokenizer", value=token, fix=fix)


def sighted_ids(codec: Bpe, messages: Sequence[Message], image_token: int, places: int) -> tuple[list[int], list[bool]]:
    """Token ids of a whole conversation with pictures, and which of them the assistant has to say.

    Args:
        codec: From `sighted`.
        messages: Plain, as `parted` gives them.
        image_token: What stands for a picture.
        places: How many of them one picture takes.

    Raises:
        InputError: The conversation is not one, or the template does not write each picture once.
        ModelError: The template is refused, or does not let the assistant's tokens be found.
    """
    ids, mask = chat_ids(codec, template_of(codec), messages)
    check_written(ids.count(image_token), messages)
    opener = opener_of(codec, ids)
    return expanded([*opener, *ids], [*[False] * len(opener), *mask], image_token, places)


def sighted_prompt(codec: Bpe, messages: Sequence[Message], image_token: int, places: int) -> list[int]:
    """Token ids of a conversation with pictures, up to where the assistant begins to speak; see `sighted_ids`.

    Raises:
        InputError: The conversation is not one, or the template does not write each picture once.
        ModelError: The template is refused.
    """
    ids = prompt_ids(codec, template_of(codec), messages)
    check_written(ids.count(image_token), messages)
    ids = [*opener_of(codec, ids), *ids]
    return expanded(ids, [False] * len(ids), image_token, places)[0]


def opener_of(codec: Bpe, ids: Sequence[int]) -> list[int]:
    """What transformers' processors put before a conversation: what opens a text, unless the template wrote it."""
    return [] if list(ids[: len(codec.start)]) == codec.start else codec.start


def check_written(count: int, messages: Sequence[Message]) -> None:
    """Refuse a conversation of which the template wrote another number of pictures than it holds.

    Raises:
        InputError: Says both.
    """
    wanted = pictures_in(messages)
    if count != wanted:
        fix = "put pictures into what the user says: the template writes them there alone"
        raise InputError("the chat template leaves pictures out", value=f"{count} of {wanted}", fix=fix)


def expanded(ids: Sequence[int], mask: Sequence[bool], image_token: int, places: int) -> tuple[list[int], list[bool]]:
    """Ids and mask in which each picture has all its places."""
    counts = [places if token == image_token else 1 for token in ids]
    wide = [token for token, count in zip(ids, counts, strict=True) for _ in range(count)]
    return wide, [wish for wish, count in zip(mask, counts, strict=True) for _ in range(count)]


def with_image_token(codec: Bpe, image_token: int) -> Bpe:
    """A tokenizer that has a special token of some number for pictures: its own, or one more behind all others.

    Raises:
        RecipeError: The number is another token's, or leaves a gap.
    """
    if image_token in codec.special.values():
        return codec
    if image_token != codec.vocab_size:
        fix = f"set model.image_token_index={codec.vocab_size} and model.text.vocab_size above it"
        raise RecipeError(
            "no special token of the tokenizer", where="model.image_token_index", value=image_token, fix=fix
        )
    wider = Tokenizer.from_str(codec.source)
    wider.add_special_tokens([AddedToken(IMAGE, special=True, normalized=False)])
    return Bpe(wider.to_str(pretty=True) + "\n", codec.settings, codec.ends)

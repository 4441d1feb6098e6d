"""What a model that sees is asked: a conversation with pictures, as token ids and as what its tower sees."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from makar.codecs.sight import parted, shows, sighted_prompt
from makar.core.errors import InputError, ModelError
from makar.core.messages import Message, pictures_in
from makar.core.nouns import Model
from makar.data.talks import picture_of
from makar.families.language.sample import codec_of, prompt_ids
from makar.families.llava.config import LlavaConfig
from makar.families.llava.folder import processor_of
from makar.nets.llava import Llava

FIX = "give a text, messages, or {'text': ..., 'image': a picture or several}"


def config_of(model: Model[Llava]) -> LlavaConfig:
    """The config of a model of this family."""
    assert isinstance(model.config, LlavaConfig)
    return model.config


def speaker_of(model: Model[Llava]) -> Model[Any]:
    """The decoder alone, as a model of language."""
    return Model(model.family, model.net.config.text, model.net.language_model, model.parts, model.generation)


def read_prompt(model: Model[Llava], prompt: Any) -> tuple[list[int], list[Tensor]]:
    """A prompt as token ids, with places for each picture, and its pictures.

    Args:
        model: With its tokenizer.
        prompt: Text, messages whose parts may be pictures, token ids, None, or a table of "text" and "image", which is
            a picture or a list of them.

    Raises:
        InputError: It is none of these, a picture cannot be read, or it is longer than the context.
        ModelError: The model's chat template writes no pictures.
    """
    if isinstance(prompt, Mapping):
        prompt = asked(prompt)
    messages = isinstance(prompt, Sequence) and prompt and all(isinstance(each, dict) for each in prompt)
    if not messages or not pictures_in(prompt):
        return prompt_ids(speaker_of(model), prompt), []
    ids, found = conversation_ids(model, prompt), parted(prompt)[1]
    fits(ids, len(found), config_of(model))
    return ids, pictures(model, found)


def conversation_ids(model: Model[Llava], messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation with pictures, up to where the model answers.

    Raises:
        InputError: The conversation is not one.
        ModelError: The model's chat template writes no pictures.
    """
    config, codec = config_of(model), codec_of(speaker_of(model))
    if not shows(codec, config.image_token_index):
        fix = "put a chat_template.jinja that does beside tokenizer.json"
        raise ModelError("the model's chat template writes no pictures", fix=fix)
    return sighted_prompt(codec, parted(messages)[0], config.image_token_index, config.places)


def asked(prompt: Mapping[str, Any]) -> Any:
    """A table as the messages that it stands for; as text, where there is no picture and no conversation.

    Raises:
        InputError: It holds something else.
    """
    unknown = next((name for name in prompt if name not in ("text", "image")), None)
    if unknown is not None:
        raise InputError("unknown part of a prompt", value=unknown, fix=FIX)
    given, text = prompt.get("image"), prompt.get("text") or ""
    images = given if isinstance(given, list | tuple) else [] if given is None else [given]
    if not isinstance(text, str):
        raise InputError("the text of a prompt is not text", value=text, fix=FIX)
    parts = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}] if parts else text


def fits(ids: Sequence[int], count: int, config: LlavaConfig) -> None:
    """Refuse a prompt that is longer than the context, and say what the pictures take of it.

    Raises:
        InputError: Says both.
    """
    context = config.max_position_embeddings
    if len(ids) > context:
        value = f"{len(ids)} tokens, {count * config.places} of them for {count} pictures"
        fix = f"give at most {context}: fewer pictures or words"
        raise InputError("the prompt is longer than the model's context", value=value, fix=fix)


def pictures(model: Model[Llava], found: Sequence[Any]) -> list[Tensor]:
    """The pictures of a conversation as the tower sees them.

    Raises:
        InputError: One cannot be read.
    """
    prepare = processor_of(config_of(model))
    return [prepare(picture_of(part, f"picture {number}")) for number, part in enumerate(found, 1)]

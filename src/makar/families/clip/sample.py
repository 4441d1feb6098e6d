"""What two towers answer with: where a picture or a text lies in the space that they share."""

from collections.abc import Sequence
from typing import Any

import torch

from makar.codecs.captions import Captions
from makar.core.errors import InputError, ModelError
from makar.core.nouns import Chunk, Model, Request, State
from makar.families.clip.build import Net, captions_of, config_of, processor_of, trimmed
from makar.families.clip.settings import ClipSettings
from makar.families.settings import settings_of
from makar.nets.clip import Images, Tokens, Vectors

AT_ONCE = 256
"""Pictures or texts that are embedded together."""


class ClipSampler:
    """Implements `core.nouns.Sampler`.

    A prompt is a text, {"text": text} or {"image": picture}; None is the empty text. A chunk's `data` is its vector of
    length 1 in the shared space: the nearer two of them, the more alike is what they mean.
    """

    def start(self, model: Model[Net], requests: Sequence[Request]) -> State:
        """Embed what is asked for.

        Raises:
            UserError: A prompt that is neither text nor picture, or a text that the model cannot read.
        """
        vectors: list[Vectors] = []
        for request in requests:
            settings_of(model, request, ClipSettings)
            prompt: Any = request.prompt if isinstance(request.prompt, dict) else {"text": request.prompt}
            if set(prompt) == {"image"}:
                vectors.append(image_vectors(model, [prompt["image"]]))
            elif set(prompt) == {"text"}:
                vectors.append(text_vectors(model, [prompt["text"] or ""]))
            else:
                what, fix = "a prompt is a text or a picture", 'give {"text": ...} or {"image": ...}'
                raise InputError(what, value=sorted(map(str, prompt)), fix=fix)
        return {"vector": torch.cat(vectors)}

    def step(self, model: Model[Net], state: State) -> tuple[State, list[Chunk]]:  # noqa: ARG002
        """The vectors.

        Raises:
            ModelError: The net's numbers are not finite.
        """
        if not bool(state["vector"].isfinite().all()):
            raise ModelError("the model's vectors are not finite", fix="its weights are damaged or training diverged")
        return state, [
            Chunk(row, each.clone().cpu(), done=True, reason="stop") for row, each in enumerate(state["vector"])
        ]


@torch.inference_mode()
def image_vectors(model: Model[Net], pictures: Sequence[Any]) -> Vectors:
    """Pictures of any size, of Pillow, or as the net sees them already, in the shared space; of length 1.

    Raises:
        InputError: Something is no picture.
    """
    prepare, found = processor_of(config_of(model)), list[Vectors]()
    for start in range(0, len(pictures), AT_ONCE):
        images: Images = torch.stack([prepare(picture) for picture in pictures[start : start + AT_ONCE]])
        found.append(model.net.image_features(images.to(model.device)).float())
    return torch.nn.functional.normalize(torch.cat(found), dim=1)


def text_vectors(model: Model[Net], texts: Sequence[str]) -> Vectors:
    """Texts in the shared space; of length 1.

    Raises:
        InputError: A text has more tokens than the model reads, or nothing in it is known.
        ModelError: The model has no tokenizer.
    """
    return token_vectors(model, tokens_of(model, texts))


@torch.inference_mode()
def token_vectors(model: Model[Net], tokens: Tokens) -> Vectors:
    """Texts that are tokens already, in the shared space; of length 1."""
    config, found = config_of(model), list[Vectors]()
    for some in tokens.split(AT_ONCE):
        found.append(model.net.text_features(trimmed(config, some.to(model.device))).float())
    return torch.nn.functional.normalize(torch.cat(found), dim=1)


def tokens_of(model: Model[Net], texts: Sequence[str]) -> Tokens:
    """The tokens of texts; those of an empty one are known without a tokenizer."""
    if isinstance(model.parts.get("codec"), Captions) or any(texts):
        return captions_of(model).ids(texts)
    reads = config_of(model).text
    rows = torch.full((len(texts), reads.max_position_embeddings), reads.pad_token_id)
    rows[:, 0], rows[:, 1] = reads.bos_token_id, reads.eos_token_id
    return rows


SAMPLER = ClipSampler()

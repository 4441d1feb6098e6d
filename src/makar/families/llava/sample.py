"""How a model that sees answers: its pictures are read once, among its prompt; then it writes as a decoder does."""

from collections.abc import Sequence

import torch

from makar.core.nouns import Chunk, Model, Request, State
from makar.families.language.sample import SAMPLER as WRITER
from makar.families.language.sample import begun
from makar.families.llava.prompt import read_prompt, speaker_of
from makar.nets.llava import Llava


class LlavaSampler:
    """Implements `core.nouns.Sampler`. A prompt is as `read_prompt` takes it; chunks are as those of language."""

    def start(self, model: Model[Llava], requests: Sequence[Request]) -> State:
        """Read the prompts, all but the last token of each, and look at their pictures.

        Raises:
            UserError: A prompt longer than the context, a picture that cannot be read, or something else than both.
        """
        prompts = [read_prompt(model, request.prompt) for request in requests]
        pictures = [picture for _, found in prompts for picture in found]
        images = torch.stack(pictures).to(model.device) if pictures else None
        ids = [each for each, _ in prompts]
        return begun(speaker_of(model), requests, ids, lambda tokens: model.net.embed(tokens, images))

    def step(self, model: Model[Llava], state: State) -> tuple[State, list[Chunk]]:
        """One more token for every row."""
        return WRITER.step(speaker_of(model), state)


SAMPLER = LlavaSampler()

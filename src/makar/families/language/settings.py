"""How to write: the settings of one answer."""

from typing import Annotated

from pydantic import Field

from makar.core.config import Config

Text = Annotated[str, Field(min_length=1)]


class LanguageSettings(Config):
    """How one answer is drawn, in the order in which the parts act on the logits.

    Args:
        max_tokens: The answer ends after so many tokens, or where the context is full.
        repetition_penalty: Divides the positive and multiplies the negative logits of every token seen so far, the
            prompt's included; 1 is none. Paper: arXiv 1909.05858, section 4.1.
        temperature: Divides the logits; 0 always takes the likeliest token.
        top_k: Draw among the k likeliest; 0 is all. Paper: arXiv 1805.04833.
        top_p: Draw among the likeliest that reach this mass together; 1 is all. Paper: arXiv 1904.09751.
        min_p: Draw among those at least so likely as a share of the likeliest; 0 is all. Paper: arXiv 2407.01082.
        stop: The answer ends before the first of these texts.
        logprobs: Also give the log-probability of every token (natural, as the model sees it before any of the above)
            and those of so many of the likeliest; None gives none.
    """

    max_tokens: int = Field(256, ge=1)
    repetition_penalty: float = Field(1.0, gt=0)
    temperature: float = Field(0.8, ge=0)
    top_k: int = Field(0, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    stop: tuple[Text, ...] = ()
    logprobs: int | None = Field(None, ge=0)

"""The shape of a decoder that sees, in the field names of transformers' LLaVA; imports no torch."""

from typing import Literal

from pydantic import Field, model_validator

from makar.core.config import Config
from makar.nets.clip_config import ClipVisionConfig
from makar.nets.config import DecoderConfig

IMAGE_TOKEN = "<|image_pad|>"
"""What stands for a picture in the tokenizers that are trained here, among their first sixteen."""

IMAGE_TOKEN_ID = 12
"""Its number in all of them."""


class LlavaShape(Config):
    """CLIP's tower, two layers that translate, and a decoder that reads what they say among its words.

    Args:
        vision: The tower that sees.
        text: The decoder.
        image_token_index: The token whose places the patches of a picture take.
        vision_feature_layer: Which of the tower's states are read: -2 is what comes out of the layer before its last.
        vision_feature_select_strategy: "default" leaves the tower's first token, the whole, out; "full" keeps it.
        projector_hidden_act: Between the two layers.
        multimodal_projector_bias: Whether they have biases.
    """

    vision: ClipVisionConfig
    text: DecoderConfig
    image_token_index: int = Field(default=IMAGE_TOKEN_ID, ge=0)
    vision_feature_layer: int = -2
    vision_feature_select_strategy: Literal["default", "full"] = "default"
    projector_hidden_act: Literal["gelu", "quick_gelu", "gelu_pytorch_tanh"] = "gelu"
    multimodal_projector_bias: bool = True

    @model_validator(mode="after")
    def _fits(self) -> "LlavaShape":
        states, vocabulary = self.vision.num_hidden_layers + 1, self.text.vocab_size
        if not -states <= self.vision_feature_layer < states:
            raise ValueError(
                f"set vision_feature_layer between {-states} and {states - 1}: the tower has "
                f"{states - 1} layers (got {self.vision_feature_layer})"
            )
        if vocabulary and self.image_token_index >= vocabulary:
            raise ValueError(f"set image_token_index below text.vocab_size {vocabulary} (got {self.image_token_index})")
        if self.places > self.text.max_position_embeddings:
            raise ValueError(
                f"set text.max_position_embeddings above {self.places}, the tokens of one picture "
                f"(got {self.text.max_position_embeddings})"
            )
        return self

    @property
    def places(self) -> int:
        """Tokens that one picture takes in a row."""
        return self.vision.patches + (self.vision_feature_select_strategy == "full")

    @property
    def depth(self) -> int:
        """Layers of the tower that a picture goes through."""
        return self.vision_feature_layer % (self.vision.num_hidden_layers + 1)

    @property
    def vocab_size(self) -> int:
        """Of the decoder."""
        return self.text.vocab_size

    @property
    def max_position_embeddings(self) -> int:
        """The longest context, tokens, those of pictures among them."""
        return self.text.max_position_embeddings

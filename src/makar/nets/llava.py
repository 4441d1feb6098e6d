"""A decoder that sees: the patches of a picture stand among the words as if they were words.

Parameter names are those of LLaVA's folders. Paper: arXiv 2304.08485, section 4.1; the projector of two layers and the
patches of the layer before the last: arXiv 2310.03744, section 3.
"""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.core.errors import InputError
from makar.nets.cache import Cache
from makar.nets.clip import ACTIVATIONS, ClipVisionModel
from makar.nets.decoder import Decoder
from makar.nets.llava_config import LlavaShape

Images = Float[Tensor, "pictures channels high wide"]
Hidden = Float[Tensor, "rows time width"]


class Projector(nn.Module):
    """From what the tower sees to what the decoder reads."""

    def __init__(self, config: LlavaShape) -> None:
        super().__init__()
        seen, read, bias = (
            config.vision.hidden_size,
            config.text.hidden_size,
            config.multimodal_projector_bias,
        )
        self.activation = ACTIVATIONS[config.projector_hidden_act]
        self.linear_1 = nn.Linear(seen, read, bias=bias)
        self.linear_2 = nn.Linear(read, read, bias=bias)

    def forward(self, x: Float[Tensor, "pictures places seen"]) -> Float[Tensor, "pictures places width"]:
        """Each patch by itself."""
        return self.linear_2(self.activation(self.linear_1(x)))


class Llava(nn.Module):
    """Tokens and pictures to logits.

    Args:
        config: Its shape.
    """

    def __init__(self, config: LlavaShape) -> None:
        super().__init__()
        self.config = config
        self.vision_tower = ClipVisionModel(config.vision)
        self.multi_modal_projector = Projector(config)
        self.language_model = Decoder(config.text)

    def see(self, images: Images) -> Float[Tensor, "pictures places width"]:
        """What the decoder is told of some pictures: a vector for each patch."""
        tower, config = self.vision_tower, self.config
        states = tower.pre_layrnorm(tower.embeddings(images))
        for layer in tower.encoder.layers[: config.depth]:
            states = layer(states)
        first = 0 if config.vision_feature_select_strategy == "full" else 1
        return self.multi_modal_projector(states[:, first:])

    def embed(self, tokens: Int[Tensor, "rows time"], images: Images | None) -> Hidden:
        """The embeddings of tokens, with patches in the places of image tokens, row by row and picture by picture.

        Args:
            tokens: Ids, `places` image tokens for each picture.
            images: All pictures of all rows, in the order in which they stand there; None for none.

        Raises:
            InputError: There are more or fewer places than patches.
        """
        words = self.language_model.model.embed_tokens(tokens)
        here, pictures = tokens == self.config.image_token_index, 0 if images is None else len(images)
        places = int(here.sum())
        if places != pictures * self.config.places:
            fix = f"give {self.config.places} image tokens for each picture"
            raise InputError("pictures and image tokens do not match", value=f"{pictures} and {places}", fix=fix)
        if images is None or not pictures:
            return words
        return words.masked_scatter(here[..., None], self.see(images).to(words.dtype))

    def hidden(
        self,
        tokens: Int[Tensor, "rows time"],
        images: Images | None = None,
        segments: Int[Tensor, "rows time"] | None = None,
        cache: Cache | None = None,
    ) -> Hidden:
        """Hidden states after the last norm; see `forward` for the arguments."""
        return self.language_model.model(tokens, segments, cache=cache, embeddings=self.embed(tokens, images))

    def forward(
        self,
        tokens: Int[Tensor, "rows time"],
        images: Images | None = None,
        segments: Int[Tensor, "rows time"] | None = None,
        cache: Cache | None = None,
    ) -> Float[Tensor, "rows time vocab"]:
        """Logits of the token after each.

        Args:
            tokens: Ids.
            images: As in `embed`.
            segments: As in `Decoder.forward`.
            cache: As in `Decoder.forward`.
        """
        return F.linear(self.hidden(tokens, images, segments, cache), self.language_model.output_weight)

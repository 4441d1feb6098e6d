"""Two towers, one that sees and one that reads, whose vectors lie near each other where they mean the same.

Parameter names and results are those of transformers' `CLIPModel`. Paper: CLIP, arXiv 2103.00020, section 2.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.nets.attention import attend_all
from makar.nets.clip_config import Activation, ClipTextConfig, ClipTowerConfig, ClipVisionConfig

States = Float[Tensor, "rows tokens width"]
Images = Float[Tensor, "rows channels high wide"]
Tokens = Int[Tensor, "rows tokens"]
Vectors = Float[Tensor, "rows width"]

SPREAD = 0.02
"""Standard deviation of fresh embeddings."""

LAST = 2
"""As the number of the end token: folders of before mid-2023 say so and mean the highest number in a row."""


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's form of the GELU."""
    return x * torch.sigmoid(1.702 * x)


def gelu_tanh(x: Tensor) -> Tensor:
    """The GELU by its tangent."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": F.gelu,
    "gelu_pytorch_tanh": gelu_tanh,
}


class ClipAttention(nn.Module):
    """Every token looks at all, or at itself and those before it.

    Args:
        config: Of the tower.
        causal: Whether what lies behind is hidden.
    """

    def __init__(self, config: ClipTowerConfig, *, causal: bool) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads, self.causal = config.num_attention_heads, causal
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: States) -> States:
        """What each token found."""
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        found = attend_all(q, k, v, causal=self.causal)
        return self.out_proj(found.transpose(1, 2).flatten(2))


class ClipFeedForward(nn.Module):
    """Each token by itself."""

    def __init__(self, config: ClipTowerConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: States) -> States:
        """Wide and back."""
        return self.fc2(self.activation(self.fc1(x)))


class ClipLayer(nn.Module):
    """Attention and feed-forward, each behind a norm."""

    def __init__(self, config: ClipTowerConfig, *, causal: bool) -> None:
        super().__init__()
        self.self_attn = ClipAttention(config, causal=causal)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = ClipFeedForward(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, x: States) -> States:
        """The tokens, once more."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class ClipEncoder(nn.Module):
    """The layers of a tower."""

    def __init__(self, config: ClipTowerConfig, *, causal: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ClipLayer(config, causal=causal) for _ in range(config.num_hidden_layers))

    def forward(self, x: States) -> list[States]:
        """What goes into each layer, and last what comes out of the last one: transformers' `hidden_states`."""
        states = [x]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return states


class ClipTextEmbeddings(nn.Module):
    """Tokens that know their place."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, tokens: Tokens) -> States:
        """The sum of both."""
        return self.token_embedding(tokens) + self.position_embedding.weight[: tokens.shape[1]]


class ClipTextModel(nn.Module):
    """Reads from left to right; what a text says stands at its end.

    Args:
        config: Its shape.
    """

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = ClipTextEmbeddings(config)
        self.encoder = ClipEncoder(config, causal=True)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        begin(self, config)

    def states(self, tokens: Tokens) -> list[States]:
        """What goes into each layer, and what comes out of the last, before the norm."""
        return self.encoder(self.embeddings(tokens))

    def pooled(self, states: States, tokens: Tokens) -> Vectors:
        """What stands at the end of each text, behind the norm.

        Args:
            states: Of the last layer.
            tokens: Of the texts, each with its end token.
        """
        place = ends_of(tokens, self.config.eos_token_id)
        return self.final_layer_norm(states[torch.arange(len(states), device=states.device), place])

    def forward(self, tokens: Tokens) -> Vectors:
        """What each text says, before it is projected."""
        return self.pooled(self.states(tokens)[-1], tokens)


class ClipVisionEmbeddings(nn.Module):
    """A token for the whole, and patches that know where they lie."""

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.randn(config.hidden_size))
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, config.patch_size, bias=False
        )
        self.position_embedding = nn.Embedding(config.patches + 1, config.hidden_size)

    def forward(self, images: Images) -> States:
        """Row by row, the whole first."""
        patches = self.patch_embedding(images).flatten(2).transpose(1, 2)
        whole = self.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        return torch.cat((whole, patches), 1) + self.position_embedding.weight


class ClipVisionModel(nn.Module):
    """Sees a picture in patches; what it shows stands in the first token.

    Args:
        config: Its shape.
    """

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = ClipVisionEmbeddings(config)
        self.pre_layrnorm = nn.LayerNorm(
            config.hidden_size, config.layer_norm_eps
        )  # OpenAI's spelling, and the field's
        self.encoder = ClipEncoder(config, causal=False)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        begin(self, config)
        nn.init.normal_(self.embeddings.class_embedding, std=config.hidden_size**-0.5)
        nn.init.normal_(self.embeddings.patch_embedding.weight, std=SPREAD)

    def states(self, images: Images) -> list[States]:
        """What goes into each layer, and what comes out of the last; the first token is the whole."""
        return self.encoder(self.pre_layrnorm(self.embeddings(images)))

    def forward(self, images: Images) -> Vectors:
        """What each picture shows, before it is projected."""
        return self.post_layernorm(self.states(images)[-1][:, 0])


class ClipNet(nn.Module):
    """Both towers, and the space that they share.

    Args:
        vision: The tower that sees.
        text: The tower that reads.
        projection_dim: Width of the space.
        logit_scale: Logarithm of what likeness is multiplied with, to begin with.
    """

    def __init__(self, vision: ClipVisionConfig, text: ClipTextConfig, projection_dim: int, logit_scale: float) -> None:
        super().__init__()
        self.text_model = ClipTextModel(text)
        self.vision_model = ClipVisionModel(vision)
        self.visual_projection = nn.Linear(vision.hidden_size, projection_dim, bias=False)
        self.text_projection = nn.Linear(text.hidden_size, projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale)))
        for projection in (self.visual_projection, self.text_projection):
            nn.init.normal_(projection.weight, std=projection.in_features**-0.5)

    def image_features(self, images: Images) -> Vectors:
        """Pictures in the shared space, not yet of length 1."""
        return self.visual_projection(self.vision_model(images))

    def text_features(self, tokens: Tokens) -> Vectors:
        """Texts in the shared space, not yet of length 1."""
        return self.text_projection(self.text_model(tokens))

    def forward(self, images: Images, tokens: Tokens) -> tuple[Vectors, Vectors]:
        """Pictures and texts in the shared space, in float32 and of length 1."""
        seen, read = self.image_features(images).float(), self.text_features(tokens).float()
        return F.normalize(seen, dim=1), F.normalize(read, dim=1)


def begin(tower: nn.Module, config: ClipTowerConfig) -> None:
    """Fresh weights as OpenAI drew them: the deeper the tower, the less each layer adds."""
    width, shrunk = config.hidden_size**-0.5, (2 * config.num_hidden_layers) ** -0.5
    for module in tower.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=SPREAD)
        elif isinstance(module, ClipAttention):
            for layer in (module.q_proj, module.k_proj, module.v_proj):
                nn.init.normal_(layer.weight, std=width * shrunk)
            nn.init.normal_(module.out_proj.weight, std=width)
        elif isinstance(module, ClipFeedForward):
            nn.init.normal_(module.fc1.weight, std=(2 * config.hidden_size) ** -0.5)
            nn.init.normal_(module.fc2.weight, std=width * shrunk)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def ends_of(tokens: Tokens, end_id: int) -> Int[Tensor, " rows"]:
    """Where each text ends: the place of its first end token, or 0 where it has none.

    Args:
        tokens: Of the texts.
        end_id: The end token's; `LAST` for the highest number of a row, whatever it is.
    """
    return (tokens if end_id == LAST else (tokens == end_id).int()).argmax(1)


def layers_of(towers: Sequence[nn.Module]) -> list[nn.Module]:
    """The repeated units of towers."""
    return [module for tower in towers for module in tower.modules() if isinstance(module, ClipLayer)]

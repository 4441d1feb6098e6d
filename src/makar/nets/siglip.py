"""CLIP's two towers as SigLIP has them: patches are pooled by a query that is learned, and texts are read both ways.

Parameter names and results are those of transformers' `SiglipModel`. Paper: arXiv 2303.15343, section 3.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from makar.nets.clip import ClipEncoder, ClipFeedForward, ClipTextEmbeddings, Images, States, Tokens, Vectors, begin
from makar.nets.clip_config import ClipTextConfig, ClipVisionConfig

LOGIT_SCALE, LOGIT_BIAS = math.log(10.0), -10.0
"""What likeness is multiplied with and what is added, to begin with: at first nothing matches. Paper: section 3.2."""


class SiglipTextModel(nn.Module):
    """Reads a padded row as a whole; what the text says stands in its last token.

    Args:
        config: Its shape.
        projection_dim: Width of the shared space.
    """

    def __init__(self, config: ClipTextConfig, projection_dim: int) -> None:
        super().__init__()
        self.config = config
        self.embeddings = ClipTextEmbeddings(config)
        self.encoder = ClipEncoder(config, causal=False)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, projection_dim)
        begin(self, config)
        nn.init.normal_(self.head.weight, std=config.hidden_size**-0.5)

    def forward(self, tokens: Tokens) -> Vectors:
        """What each text says."""
        last = self.encoder(self.embeddings(tokens))[-1]
        return self.head(self.final_layer_norm(last[:, -1]))


class SiglipVisionEmbeddings(nn.Module):
    """Patches that know where they lie."""

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(config.num_channels, config.hidden_size, config.patch_size, config.patch_size)
        self.position_embedding = nn.Embedding(config.patches, config.hidden_size)

    def forward(self, images: Images) -> States:
        """Row by row."""
        # Each token's values side by side in memory: blocks compiled for a CPU in bf16 may say NaN of another order.
        return self.patch_embedding(images).flatten(2).transpose(1, 2).contiguous() + self.position_embedding.weight


class SiglipPooling(nn.Module):
    """One learned query looks at all patches."""

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.probe = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        self.attention = nn.MultiheadAttention(width, config.num_attention_heads, batch_first=True)
        self.layernorm = nn.LayerNorm(width, config.layer_norm_eps)
        self.mlp = ClipFeedForward(config)

    def forward(self, x: States) -> Vectors:
        """What it found."""
        found = self.attention(self.probe.expand(len(x), -1, -1), x, x, need_weights=False)[0]
        return (found + self.mlp(self.layernorm(found)))[:, 0]


class SiglipVisionModel(nn.Module):
    """Sees a picture in patches.

    Args:
        config: Its shape.
    """

    def __init__(self, config: ClipVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = SiglipVisionEmbeddings(config)
        self.encoder = ClipEncoder(config, causal=False)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.head = SiglipPooling(config)
        begin(self, config)

    def forward(self, images: Images) -> Vectors:
        """What each picture shows."""
        return self.head(self.post_layernorm(self.encoder(self.embeddings(images))[-1]))


class SiglipNet(nn.Module):
    """Both towers, and how likeness becomes odds.

    Args:
        vision: The tower that sees; the shared space is as wide.
        text: The tower that reads.
    """

    def __init__(self, vision: ClipVisionConfig, text: ClipTextConfig) -> None:
        super().__init__()
        self.text_model = SiglipTextModel(text, vision.hidden_size)
        self.vision_model = SiglipVisionModel(vision)
        self.logit_scale = nn.Parameter(torch.tensor([LOGIT_SCALE]))
        self.logit_bias = nn.Parameter(torch.tensor([LOGIT_BIAS]))

    def image_features(self, images: Images) -> Vectors:
        """Pictures in the shared space, not yet of length 1."""
        return self.vision_model(images)

    def text_features(self, tokens: Tokens) -> Vectors:
        """Texts in the shared space, not yet of length 1."""
        return self.text_model(tokens)

    def forward(self, images: Images, tokens: Tokens) -> tuple[Vectors, Vectors]:
        """Pictures and texts in the shared space, in float32 and of length 1."""
        seen, read = self.image_features(images).float(), self.text_features(tokens).float()
        return F.normalize(seen, dim=1), F.normalize(read, dim=1)

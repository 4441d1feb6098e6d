"""What a training step of a language model costs: arithmetic over the config. Imports no torch by itself."""

from makar.core.nouns import Cost
from makar.families.language.config import LanguageConfig


def cost(config: LanguageConfig, length: int) -> Cost:
    """Parameters, operations and memory for rows of some length.

    Args:
        config: With its vocabulary filled in.
        length: Tokens that a row predicts.
    """
    products = length * 2 * matrices(config)
    forward = products + config.num_hidden_layers * attention_flops(config, length)
    return Cost(
        parameters=parameters(config),
        flops=3.0 * forward,  # backward does each product twice: for what came in and for the weights
        activations=float(length * (config.num_hidden_layers * kept_per_token(config) + kept_at_the_ends(config))),
        units=("tokens", length),
        weight_flops=float(products),
    )


def projections(config: LanguageConfig) -> tuple[int, int]:
    """Widths of the queries, and of the keys or the values."""
    return config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim


def matrices(config: LanguageConfig) -> int:
    """Scalars of all matrices that a token is multiplied with: the layers' and the output's, not the embedding's."""
    queries, keys = projections(config)
    layer = config.hidden_size * (2 * queries + 2 * keys + 3 * config.intermediate_size)
    return config.num_hidden_layers * layer + config.vocab_size * config.hidden_size


def parameters(config: LanguageConfig) -> int:
    """Scalars in the net; a tied embedding counts once."""
    queries, keys = projections(config)
    layer = 2 * config.hidden_size
    if config.attention_bias or config.qkv_bias:
        layer += queries + 2 * keys
    if config.attention_bias:
        layer += config.hidden_size
    if config.qk_norm:
        layer += 2 * config.head_dim
    embedding = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return matrices(config) + config.num_hidden_layers * layer + config.hidden_size + embedding


def attention_flops(config: LanguageConfig, length: int) -> int:
    """Operations of one layer's attention, forward, on one row: two products over the pairs that the mask allows."""
    window = min(config.sliding_window or length, length)
    pairs = window * (window + 1) // 2 + (length - window) * window
    return 4 * pairs * projections(config)[0]


def kept_per_token(config: LanguageConfig) -> int:
    """Bytes that one layer keeps of one token for backward, in float32 and without the compiler.

    Each of the two norms keeps its input, the normalised copy and the weighted one (3 + 3 widths); attention keeps
    queries, keys, values and its result; SwiGLU keeps gate, silu(gate), up and their product. QK-norm keeps the heads
    before and after division.
    """
    queries, keys = projections(config)
    kept = 6 * config.hidden_size + 2 * queries + 2 * keys + 4 * config.intermediate_size
    if config.qk_norm:
        kept += 2 * (queries + keys)
    return 4 * kept


def kept_at_the_ends(config: LanguageConfig) -> int:
    """Bytes of one token outside the layers: the last norm's three copies and the gradient that the loss forms."""
    return 4 * 4 * config.hidden_size

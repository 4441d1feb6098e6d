import pytest
from pydantic import ValidationError

from makar.core.config import parse
from makar.core.errors import RecipeError
from makar.nets.config import DecoderConfig


def refused(**fields) -> str:
    with pytest.raises(RecipeError) as caught:
        parse(DecoderConfig, {"hidden_size": 64, "num_hidden_layers": 2} | fields, "recipe.toml")
    return str(caught.value)


def test_width_and_depth_are_enough():
    config = DecoderConfig(hidden_size=320, num_hidden_layers=8)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (5, 5, 64)
    assert config.intermediate_size == 896
    assert config.vocab_size == 0


@pytest.mark.parametrize("width", [6, 64, 96, 100, 288, 320, 768])
def test_every_even_width_has_defaults_that_fit(width):
    config = DecoderConfig(hidden_size=width, num_hidden_layers=1)
    assert config.num_attention_heads * config.head_dim == width


def test_heads_that_do_not_divide_the_width_are_refused_with_a_number_that_does():
    assert "divisor of hidden_size 64, such as 4 (got 5)" in refused(num_attention_heads=5)
    assert "divisor of num_attention_heads 4, such as 2 (got 3)" in refused(
        num_attention_heads=4, num_key_value_heads=3
    )


def test_an_odd_head_cannot_turn():
    assert "set head_dim to an even number" in refused(head_dim=7)


@pytest.mark.parametrize("field", ["hidden_size", "num_hidden_layers", "vocab_size", "sliding_window", "head_dim"])
def test_negative_sizes_are_refused_by_name(field):
    message = refused(**{field: -1})
    assert f"'{field}'" in message
    assert "greater than" in message


def test_what_no_model_of_the_ecosystem_has_is_refused():
    assert "turn qkv_bias off" in refused(qkv_bias=True, qk_norm=True)
    assert "turn attention_bias or sliding_window off" in refused(attention_bias=True, sliding_window=8)


def test_an_unknown_rope_scaling_is_refused():
    assert "rope_type" in refused(rope_scaling={"rope_type": "yarn", "factor": 2.0})
    message = refused(
        rope_scaling={
            "factor": 2.0,
            "low_freq_factor": 4.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
    )
    assert "set high_freq_factor above low_freq_factor" in message


def test_settings_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        DecoderConfig(hidden_size=64, num_hidden_layers=1).hidden_size = 32

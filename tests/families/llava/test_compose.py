"""What a fresh net takes from others, and what it refuses."""

import pytest
import torch

from makar.codecs.bpe import train_bpe
from makar.core.errors import RecipeError
from makar.core.nouns import Model
from makar.families.clip.config import ClipConfig
from makar.families.clip.family import FAMILY as CLIP
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY as LANGUAGE
from makar.families.llava.compose import composed
from makar.families.llava.config import LlavaConfig
from makar.families.llava.family import FAMILY

VISION = {"hidden_size": 32, "num_hidden_layers": 2, "image_size": 16}
TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "max_position_embeddings": 64}


@pytest.fixture(scope="module")
def eyes():
    """A CLIP whose pictures are normalised in a way of its own."""
    text = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 300}
    config = ClipConfig.model_validate({"vision": VISION, "text": text, "image_mean": (0.1, 0.2, 0.3)})
    return Model(CLIP, config, CLIP.build(config))


@pytest.fixture(scope="module")
def speaker():
    codec = train_bpe(["the moon the moon"] * 9, 280)
    config = LanguageConfig(vocab_size=codec.vocab_size, **TEXT)
    return Model(LANGUAGE, config, LANGUAGE.build(config), {"codec": codec})


def fresh(parts, vision=VISION, **text):
    config = LlavaConfig.model_validate({"vision": vision, "text": {**TEXT, "vocab_size": 300, **text}})
    return Model(FAMILY, config, FAMILY.build(config), parts)


def test_weights_are_taken_and_frozen_and_only_the_projector_learns(eyes, speaker):
    model = composed(fresh({"vision": eyes, "language": speaker}, vocab_size=speaker.config.vocab_size))
    net = model.net
    assert {name.partition(".")[0] for name, p in net.named_parameters() if p.requires_grad} == {
        "multi_modal_projector"
    }
    for ours, theirs in ((net.vision_tower, eyes.net.vision_model), (net.language_model, speaker.net)):
        assert all(
            torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
        )
    assert model.parts == {"codec": speaker.parts["codec"]}
    assert model.config.image_mean == (0.1, 0.2, 0.3)


def test_a_fresh_decoder_learns_beside_a_frozen_tower(eyes):
    net = composed(fresh({"vision": eyes})).net
    frozen = {name.partition(".")[0] for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {"vision_tower"}


def test_a_tokenizer_grows_by_a_token_for_pictures(eyes, speaker):
    size = speaker.config.vocab_size
    config = {"vision": VISION, "text": {**TEXT, "vocab_size": size + 1}, "image_token_index": size}
    model = Model(
        FAMILY,
        LlavaConfig.model_validate(config),
        FAMILY.build(LlavaConfig.model_validate(config)),
        {"language": speaker},
    )
    made = composed(model)
    assert made.parts["codec"].special["<image>"] == size
    table = made.net.language_model.model.embed_tokens.weight
    assert torch.equal(table[:size], speaker.net.model.embed_tokens.weight)


@pytest.mark.parametrize(
    ("vision", "text", "said"),
    [
        ({**VISION, "hidden_size": 64}, {}, "'vision' has another hidden_size"),
        ({**VISION, "patch_size": 8}, {}, "'vision' has another patch_size"),
        (VISION, {"hidden_size": 64}, "'language' has another hidden_size"),
        (VISION, {"vocab_size": 100}, "'language' has another vocab_size"),
    ],
)
def test_a_part_of_another_shape_is_refused_with_the_value_that_fits(eyes, speaker, vision, text, said):
    with pytest.raises(RecipeError, match=said) as fault:
        composed(fresh({"vision": eyes, "language": speaker}, vision, **text))
    assert fault.value.fix.startswith("set model.")


def test_a_part_of_another_kind_is_refused(eyes, speaker):
    with pytest.raises(RecipeError, match="no tower"):
        composed(fresh({"vision": speaker}))
    with pytest.raises(RecipeError, match="no language model"):
        composed(fresh({"language": eyes}))

import subprocess
import sys

import pytest

from makar.core.config import parse
from makar.core.errors import RecipeError
from makar.families.table import CONFIGS, FAMILIES, family


def test_every_family_has_settings_and_a_record_of_the_same_name():
    assert set(CONFIGS) == set(FAMILIES)
    for name, config in CONFIGS.items():
        record = family(name)
        assert record.name == name
        assert record.config is config
        assert config.model_fields["family"].default == name


def test_an_unknown_family_is_refused_with_those_there_are():
    with pytest.raises(RecipeError, match=r"'langauge'.*choose one of: language"):
        family("langauge")


@pytest.mark.parametrize(
    ("name", "said", "settings"),
    [
        ("vae", "net.block_out_channels.0", {"net": {"kind": "conv", "block_out_channels": [0, 8]}}),
        ("vae", "net.hidden_sizes.0", {"net": {"kind": "mlp", "hidden_sizes": [-3]}}),
        ("vae", "net.latent_channels.1", {"net": {"kind": "ladder", "latent_channels": [1, 0]}}),
        ("autoencoder", "net.block_out_channels.1", {"net": {"block_out_channels": [8, 0]}}),
        ("autoencoder", "fewer critic.block_out_channels", {"critic": {"block_out_channels": [8] * 6}}),
        ("diffusion", "net.block_out_channels.0", {"net": {"kind": "unet", "block_out_channels": [0]}}),
        ("gan", "net.block_out_channels.0", {"net": {"kind": "r3gan", "block_out_channels": [-16]}}),
    ],
)
def test_widths_of_which_no_net_can_be_built_are_refused_by_name(name, said, settings):
    with pytest.raises(RecipeError, match=said):
        parse(CONFIGS[name], settings, "recipe.toml")


def test_settings_are_known_without_torch():
    code = "import sys, makar.families.table, makar.families.language.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

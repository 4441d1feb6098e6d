import subprocess
import sys

import pytest

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


def test_settings_are_known_without_torch():
    code = "import sys, makar.families.table, makar.families.language.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

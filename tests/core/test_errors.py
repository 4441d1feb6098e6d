import pytest

from makar.core import errors
from makar.core.errors import Diverged, MakarError, UserError, shorten


def test_one_line_says_what_where_the_value_and_the_fix():
    fault = UserError("the file is\ntruncated", where="a.bin", value=[1, 2], fix="download it again")
    assert str(fault) == "a.bin: the file is truncated (got [1, 2]); download it again"
    assert str(UserError("no", fix="go")) == "no; go"


def test_without_a_fix_it_is_no_message():
    with pytest.raises(TypeError, match="fix"):
        UserError("no")  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    "name", ["InputError", "SourceError", "RecipeError", "ModelError", "RunError", "ResourceError"]
)
def test_what_a_reader_can_mend_exits_with_2_and_all_else_with_1(name):
    assert getattr(errors, name)("x", fix="y").exit_code == 2
    assert Diverged("x").exit_code == MakarError("x").exit_code == 1
    assert not isinstance(Diverged("x"), UserError)


def test_long_values_are_cut_in_the_middle():
    short = shorten("a" * 1000)
    assert len(short) < 130
    assert " … " in short
    assert shorten(3) == "3"

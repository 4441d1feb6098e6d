from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from makar.core.config import Config, field_names, parse
from makar.core.errors import RecipeError


class Small(Config):
    kind: Literal["small"] = "small"
    width: int = Field(default=8, gt=0)


class Large(Config):
    kind: Literal["large"] = "large"
    depth: int = 2


class Whole(Config):
    steps: int
    rate: float = 0.1
    net: Annotated[Small | Large, Field(discriminator="kind")] = Small()
    many: list[Small] = []
    named: dict[str, Small] = {}
    maybe: Small | None = None

    @model_validator(mode="after")
    def fits(self):
        if self.steps == 13:
            raise ValueError("13 steps bring bad luck: take 12")
        return self


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"stepps": 3}, ["unknown field 'stepps'", "did you mean 'steps'?", "and 1 more"]),
        ({"steps": 3, "zzz": 1}, ["unknown field 'zzz'", "many, maybe, named, net, rate, steps"]),
        ({}, ["field 'steps' is missing", "add 'steps'"]),
        ({"steps": "x"}, ["field 'steps'", "(got 'x')", "valid integer"]),
        ({"steps": 1, "rate": float("nan")}, ["field 'rate'", "finite"]),
        ({"steps": 1, "net": {"kind": "small", "width": -2}}, ["width", "(got -2)", "greater than 0"]),
        ({"steps": 1, "net": {"kind": "small", "widht": 2}}, ["widht", "did you mean 'width'?"]),
        ({"steps": 1, "net": {"kind": "large", "width": 2}}, ["width", "depth"]),
        ({"steps": 1, "net": {"kind": "smal"}}, ["field 'net", "'small', 'large'"]),
        ({"steps": 1, "many": [{"width": 1}, {"widt": 2}]}, ["many.1.widt", "did you mean 'width'?"]),
        ({"steps": 1, "named": {"a": {"widt": 2}}}, ["named.a.widt", "did you mean 'width'?"]),
        ({"steps": 1, "maybe": {"widt": 2}}, ["maybe.widt", "did you mean 'width'?"]),
        ({"steps": 13}, ["do not fit together", "13 steps bring bad luck: take 12"]),
    ],
)
def test_a_fault_says_where_what_and_what_would_do(data, parts):
    with pytest.raises(RecipeError) as fault:
        parse(Whole, data, "recipe.toml")
    said = str(fault.value)
    assert said.startswith("recipe.toml: ")
    assert "\n" not in said
    for part in parts:
        assert part in said


def test_what_fits_is_frozen():
    whole = parse(Whole, {"steps": 3, "net": {"kind": "large", "depth": 5}}, "x")
    assert whole.net == Large(depth=5)
    with pytest.raises(ValueError, match="frozen"):
        whole.steps = 4


def test_names_at_a_path():
    assert field_names(Whole, ["net"]) == ["depth", "kind", "width"]
    assert field_names(Whole, ["net", "small"]) == ["kind", "width"]
    assert field_names(Whole, ["many", "0"]) == ["kind", "width"]
    assert field_names(Whole, ["steps", "x"]) == []

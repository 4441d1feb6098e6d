"""The documents agree with the code; and the check that says so can fail."""

import json
import re

import pytest

from scripts import docs


def test_the_generated_pages_are_up_to_date():
    for path, text in docs.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date: make docs"


@pytest.mark.parametrize("page", docs.pages(), ids=lambda page: str(page.relative_to(docs.ROOT)))
def test_links_lead_somewhere_and_examples_would_run(page):
    text = page.read_text(encoding="utf-8")
    assert [*docs.broken_links(page, text), *docs.broken_examples(text)] == []


def test_every_room_has_a_line_in_the_readme_and_every_file_one_on_its_page():
    readme = docs.ROOT.joinpath("README.md").read_text(encoding="utf-8").split("<!-- tree")[1].split("<!-- /tree")[0]
    tree = docs.ROOT.joinpath("docs/files.md").read_text(encoding="utf-8")
    for room in docs.ROOMS:
        assert re.search(rf"^{room}/ +\S", readme, re.M), f"{room} has no line"
        for file in docs.SOURCE.joinpath(room).rglob("*.py"):
            name = f"{file.parent.name}/" if file.name == "__init__.py" else file.name
            assert re.search(rf"^ *{re.escape(name)} +\S", tree, re.M), f"{room}: {name} has no line"


def test_every_command_is_on_the_page():
    page = docs.ROOT.joinpath("docs/cli.md").read_text(encoding="utf-8")
    for words, command in docs.commands().items():
        assert f"## makar {words}\n" in page
        for option in command.params:
            assert all(name in page for name in option.opts if name.startswith("--"))


def test_every_field_of_a_recipe_is_explained():
    unexplained = [
        f"{path}.{name}"
        for path, table in docs.tables(docs.schema()["anyOf"][0], docs.schema()["$defs"], "")
        for name, field in table["properties"].items()
        if not docs.inner(field, docs.schema()["$defs"]) and "description" not in field and "const" not in field
    ]
    assert unexplained == []


def test_the_schema_takes_what_is_shipped_and_refuses_a_misspelling():
    """A check by hand of the two things that an editor does with it: known keys, required keys."""
    import tomllib

    from makar.recipes.load import SHIPPED, shipped

    schema = json.loads(docs.ROOT.joinpath("docs/recipe.schema.json").read_text(encoding="utf-8"))
    for name in shipped():
        recipe = tomllib.loads((SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))
        for stage in recipe.get("stages", {"one": recipe}).values():
            assert list(unknown(stage, schema["anyOf"][0], schema["$defs"])) == []
    assert list(unknown({"trian": {}}, schema["anyOf"][0], schema["$defs"])) == ["trian"]
    assert list(unknown({"train": {"stesp": 1}}, schema["anyOf"][0], schema["$defs"])) == ["stesp"]


def unknown(value, table, known):
    for key, inside in value.items():
        if key not in table["properties"]:
            yield key
        elif isinstance(inside, dict) and (choices := docs.inner(table["properties"][key], known)):
            yield from min((list(unknown(inside, choice, known)) for choice in choices), key=len)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```python\nfrom makar import api\napi.tarin('x')\n```\n", "api.tarin"),
        ("```python\nif:\n```\n", "does not parse"),
        ("```console\n$ makar trian poems\n```\n", "no command"),
        ("```console\n$ makar train poems --stes 4\n```\n", "--stes"),
        ("```console\n$ makar generate poems --count none\n```\n", "--count"),
        ("```console\n$ makar evaluate\n```\n", "MODEL"),
        ("```console\n$ make tset\n```\n", "tset"),
        ("```toml\na = \n```\n", "toml"),
    ],
)
def test_a_broken_example_is_found(text, said):
    (fault,) = docs.broken_examples(text)
    assert said in fault


@pytest.mark.parametrize(
    "text",
    [
        "```python\nfrom makar import api\napi.train('poems')\n```\n",
        "```console\n$ makar generate poems 'The moon' --count 2 | head -3   # two of them\n$ ls\n```\n",
        "```console\n$ makar --help\n$ makar runs show poems\n$ make test\n```\n",
        "```python signatures\nnot python\n```\n",
    ],
)
def test_a_good_example_is_let_pass(text):
    assert list(docs.broken_examples(text)) == []


def test_a_broken_link_is_found():
    page = docs.ROOT / "README.md"
    assert list(docs.broken_links(page, "[a](docs/nothing.md)"))
    assert list(docs.broken_links(page, "[a](docs/limits.md#nothing)"))
    assert not list(docs.broken_links(page, "[a](docs/limits.md#limits) [b](https://example.org) `[c](d)`"))


def test_the_check_notices_a_page_that_is_out_of_date(tmp_path, monkeypatch, capsys):
    page = docs.ROOT / "docs" / "cli.md"
    monkeypatch.setattr(docs, "generated", lambda: {page: page.read_text(encoding="utf-8") + "x"})
    assert docs.main(check=True) == 1
    assert "docs/cli.md: out of date" in capsys.readouterr().err

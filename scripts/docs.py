"""What the documents take from the code, and the check that they still agree.

`python -m scripts.docs` writes the generated pages; with `--check` it writes nothing, names every page that is out of
date, every link that leads nowhere and every example that would not run, and exits with 1 if there is one.
"""

import ast
import inspect
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import typer

from makar.app import api
from makar.app.cli import USAGE_ERROR, app
from makar.core.config import Config

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "makar"
ROOMS = (
    "core", "nets", "codecs", "data", "measure", "train", "families", "engine", "evaluate", "align", "interop",
    "recipes", "app",
)  # fmt: skip
TREE = ("<!-- tree: written by `python -m scripts.docs` -->\n", "<!-- /tree -->\n")
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MADE = "made by `python -m scripts.docs`: change the code, not this page"


def main(*, check: bool) -> int:
    """Write the generated pages, or say what is wrong with the documents.

    Args:
        check: Only look.
    """
    wanted = generated()
    if not check:
        for path, text in wanted.items():
            path.write_text(text, encoding="utf-8")
        return 0
    faults = [
        f"{path.relative_to(ROOT)}: out of date; run make docs"
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for page in pages():
        text = page.read_text(encoding="utf-8")
        faults += [
            f"{page.relative_to(ROOT)}: {fault}" for fault in [*broken_links(page, text), *broken_examples(text)]
        ]
    print("\n".join(faults) or f"documents: {len(pages())} pages agree with the code", file=sys.stderr)
    return int(bool(faults))


def pages() -> list[Path]:
    """Every Markdown page of the repository."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *SOURCE.glob("**/*.md")])


def generated() -> dict[Path, str]:
    """The pages that are made from the code, by path."""
    readme = ROOT / "README.md"
    return {
        readme: with_tree(readme.read_text(encoding="utf-8")),
        ROOT / "docs" / "files.md": files_page(),
        ROOT / "docs" / "cli.md": cli_page(),
        ROOT / "docs" / "recipes.md": recipes_page(),
        ROOT / "docs" / "recipe.schema.json": json.dumps(schema(), indent=2) + "\n",
    }


# The rooms and their files ------------------------------------------------------------------------------------


def with_tree(readme: str) -> str:
    """The README with its list of rooms written anew."""
    before, rest = readme.split(TREE[0])
    _, after = rest.split(TREE[1])
    lines = [f"{room + '/':<12} {first_sentence(SOURCE / room / '__init__.py')}" for room in ROOMS]
    return before + TREE[0] + "\n```\n" + "\n".join(lines) + "\n```\n\n" + TREE[1] + after


def files_page() -> str:
    """Every room and every file in it."""
    head = [
        "# What is where",
        "",
        f"<!-- {MADE} -->",
        "",
        "The rooms of `src/makar`, upward: each stands on those above it.",
        "",
    ]
    return "\n".join([*head, "```", *tree_lines(), "```", ""])


def tree_lines() -> Iterator[str]:
    """A line for each room and each file in it: the name, and the first sentence of its docstring."""
    for room in ROOMS:
        yield f"{room + '/':<26} {first_sentence(SOURCE / room / '__init__.py')}"
        for file in sorted((SOURCE / room).rglob("*.py")):
            if file.name == "__init__.py":
                if file.parent != SOURCE / room:
                    name = f"  {file.parent.relative_to(SOURCE / room)}/"
                    yield f"{name:<26} {first_sentence(file)}"
                continue
            depth = len(file.relative_to(SOURCE / room).parts)
            yield f"{'  ' * depth + file.name:<26} {first_sentence(file)}"


def first_sentence(file: Path) -> str:
    """The first sentence of a module's docstring, without its full stop."""
    doc = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    text = " ".join(doc.split("\n\n")[0].split())
    return re.split(r"(?<=[.;])\s", text)[0].rstrip(".;")


# The command line -------------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Every command by its words after `makar`: "train", "runs show"."""

    def walk(group: Any, words: list[str]) -> Iterator[tuple[str, Any]]:
        for name, command in getattr(group, "commands", {}).items():
            yield " ".join([*words, name]), command
            yield from walk(command, [*words, name])

    return dict(walk(typer.main.get_command(app), []))


def help_text(words: str, command: Any) -> str:
    """What `makar WORDS --help` prints on a terminal of 100 columns."""
    context = command.context_class(command, info_name=f"makar {words}".strip(), terminal_width=100)
    context.help_option_names = ["-h", "--help"]
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def cli_page() -> str:
    """docs/cli.md: the help of every command."""
    parts = [f"# The command line\n\n<!-- {MADE} -->\n"]
    parts.append(f"```text\n{help_text('', typer.main.get_command(app))}\n```\n")
    for words, command in commands().items():
        parts.append(f"## makar {words}\n\n```text\n{help_text(words, command)}\n```\n")
    parts.append(
        "Results go to stdout, progress and logs to stderr. Exit code 0 is success; 2 is something that you can mend,\n"
        "said in one line on stderr (what, where, the value, the fix); 1 is a fault of makar's, whose traceback\n"
        "`MAKAR_DEBUG=1` shows; 130 is Ctrl-C.\n"
    )
    return "\n".join(parts)


# Recipes ----------------------------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """The JSON schema of a recipe file, with what the docstrings say of each field, for editors."""
    from makar.recipes.recipe import recipe_schema

    made = recipe_schema()
    classes = {cls.__name__: cls for cls in subclasses(Config) if cls.__module__.startswith("makar.")}
    for table in [*made["$defs"].values(), *(part for part in made["anyOf"] if "properties" in part)]:
        table["description"] = " ".join(table.get("description", "").split("\n\n")[0].split())
        for cls in classes[table["title"]].__mro__:
            for name, said in arguments_of(cls.__doc__ or "").items():
                if name in table["properties"]:
                    table["properties"][name].setdefault("description", said)
    return made


def subclasses(cls: type[Config]) -> Iterator[type[Config]]:
    """Every settings class that is imported."""
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


def arguments_of(docstring: str) -> dict[str, str]:
    """What the Args section of a docstring says of each name."""
    _, _, section = inspect.cleandoc(docstring).partition("Args:\n")
    section = section.split("\n\n")[0]
    entries = re.split(r"^    (?=\w+:)", section, flags=re.M)
    pairs = (" ".join(entry.split()).partition(": ") for entry in entries if entry.strip())
    return {name: said for name, _, said in pairs}


def recipes_page() -> str:
    """docs/recipes.md: the shipped recipes, and every field that a recipe can set."""
    from makar.recipes.load import SHIPPED, shipped

    parts = [f"# Recipes\n\n<!-- {MADE} -->\n", RECIPES]
    parts += ["| recipe | what it makes |\n|---|---|"]
    for name in shipped():
        comment = re.match(r"(?:#.*\n)+", (SHIPPED / f"{name}.toml").read_text(encoding="utf-8"))
        words = " ".join(line.strip("# ") for line in comment[0].splitlines()) if comment else ""
        parts[-1] += f"\n| `{name}` | {words} |"
    parts[-1] += "\n"
    made = schema()
    recipe = made["anyOf"][0]
    for path, table in tables(recipe, made["$defs"], ""):
        title = f"## `{path}`\n" if path else "## At the top\n"
        parts.append(f"{title}\n{table['description']}\n\n| field | default | |\n|---|---|---|")
        for name, field in table["properties"].items():
            if not inner(field, made["$defs"]):
                needed = name in table.get("required", ())
                parts[-1] += f"\n| `{name}` | {default(field, needed=needed)} | {field.get('description', '')} |"
        parts[-1] += "\n"
    return "\n".join(parts)


RECIPES = """\
A recipe is a TOML file. `makar train` takes the file or the name of a shipped one; `--set train.steps=500` changes a
field. A file holds one stage, or several under `[stages.NAME]` that begin from each other with `init = "@NAME"`.
Editors that know JSON schema can take [recipe.schema.json](recipe.schema.json).

## Shipped
"""


def tables(table: dict[str, Any], known: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table of a recipe by its path; one that may be of several kinds is named once for each."""
    yield path, table
    for name, field in table["properties"].items():
        found = inner(field, known)
        for each in found:
            tag = next((p["const"] for p in each["properties"].values() if "const" in p), None)
            kind = f" ({tag})" if tag and len(found) > 1 else ""
            yield from tables(each, known, f"{path}.{name}{kind}".lstrip("."))


def inner(field: dict[str, Any], known: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables that a field may hold; none for a plain value."""
    found = [field, *field.get("anyOf", []), *field.get("oneOf", [])]
    return [
        known[part["$ref"].split("/")[-1]]
        for part in found
        if "properties" in known.get(str(part.get("$ref", "")).split("/")[-1], {})
    ]


def default(field: dict[str, Any], *, needed: bool) -> str:
    """A field's default, as TOML writes it."""
    if needed:
        return "needed"
    value = field.get("default", field.get("const"))
    return "" if value is None else f"`{json.dumps(value)}`"


# Links and examples -----------------------------------------------------------------------------------------


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Links to files of the repository that are not there, and to headings that no page has."""
    for target in LINK.findall(re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            yield f"link to {target!r} leads nowhere"
        elif heading and heading not in anchors(file.read_text(encoding="utf-8")):
            yield f"link to {target!r}: no such heading"


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken_examples(text: str) -> Iterator[str]:
    """Python blocks that do not parse or use what makar lacks; commands and options that do not exist.

    A fence with a word after its language, such as "python signatures", is no example.
    """
    for language, body in FENCE.findall(text):
        if language == "python":
            yield from broken_python(body)
        elif language == "toml":
            yield from broken_toml(body)
        elif language in ("console", "sh", "bash"):
            for line in body.splitlines():
                yield from broken_command(line.removeprefix("$ "))


def broken_python(body: str) -> Iterator[str]:
    """What is wrong with a block of Python."""
    try:
        tree = ast.parse(body)
    except SyntaxError as fault:
        yield f"python block does not parse: {fault}"
        return
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "api"
    }
    yield from (f"python block uses api.{name}, which does not exist" for name in sorted(used - set(api.__all__)))


def broken_toml(body: str) -> Iterator[str]:
    """What is wrong with a block of TOML."""
    import tomllib

    try:
        tomllib.loads(body)
    except tomllib.TOMLDecodeError as fault:
        yield f"toml block does not parse: {fault}"


def broken_command(line: str) -> Iterator[str]:
    """What is wrong with a line of a shell block: only `makar` and `make` are looked at."""
    words = shlex.split(line, comments=True)
    if words[:1] == ["make"]:
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        yield from (f"make has no target {word!r}" for word in words[1:] if word not in targets)
    if words[:1] != ["makar"]:
        return
    for cut in ("|", ">", "&&", "2>&1"):
        words = words[: words.index(cut)] if cut in words else words
    known = commands()
    name = next((" ".join(words[1:k]) for k in (3, 2) if " ".join(words[1:k]) in known), None)
    if name is None:
        if words[1:] not in (["--help"], ["--version"]):
            yield f"no command {' '.join(words)!r}"
        return
    command = known[name]
    arguments = words[1 + len(name.split()) :]
    try:
        command.make_context(name, arguments)
    except typer.Exit:
        return
    except USAGE_ERROR as fault:
        yield f"{line!r}: {cast(Any, fault).format_message()}"


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))

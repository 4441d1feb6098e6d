"""What the documents take from the code, and the check that they still agree.

`python -m scripts.docs` writes the generated pages; with `--check` it writes nothing, names every page that is out of
date, every link that leads nowhere and every example that would not run, and exits with 1 if there is one.
"""

import ast
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import typer

import makar

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "makar"
ROOMS = ("core", "nets", "codecs", "data", "train", "families", "engine", "evaluate", "recipes", "app")
TREE = ("<!-- tree: written by `python -m scripts.docs` -->\n", "<!-- /tree -->\n")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MADE = "made by `python -m scripts.docs`: change the code, not this page"


def main(check: bool) -> int:
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
        faults += [f"{page.relative_to(ROOT)}: {fault}" for fault in [*broken_links(page, text), *broken_examples(text)]]
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
        ROOT / "docs" / "cli.md": cli_page(),
        ROOT / "docs" / "recipes.md": recipes_page(),
        ROOT / "docs" / "recipe.schema.json": json.dumps(recipe_schema(), indent=2) + "\n",
    }


# The file tree of the README -------------------------------------------------------------------------------------------


def with_tree(readme: str) -> str:
    """The README with its file tree written anew."""
    before, rest = readme.split(TREE[0])
    _, after = rest.split(TREE[1])
    return before + TREE[0] + "\n```\n" + "\n".join(tree_lines()) + "\n```\n\n" + TREE[1] + after


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


# The command line ------------------------------------------------------------------------------------------------------


def commands() -> dict[str, Any]:
    """Every command by its words after `makar`: "train", "runs show"."""
    from makar.app.cli import app

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
    from makar.app.cli import app

    parts = [f"# The command line\n\n<!-- {MADE} -->\n"]
    parts.append(f"```text\n{help_text('', typer.main.get_command(app))}\n```\n")
    for words, command in commands().items():
        parts.append(f"## makar {words}\n\n```text\n{help_text(words, command)}\n```\n")
    parts.append(
        "Results go to stdout, progress and logs to stderr. Exit code 0 is success, 2 is something that you can mend (one line on\n"
        "stderr: what, where, the value, the fix), 1 is a fault of makar's (`MAKAR_DEBUG=1` shows the traceback), 130 is Ctrl-C.\n"
    )
    return "\n".join(parts)


# Recipes ---------------------------------------------------------------------------------------------------------------


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe file, for editors."""
    from makar.recipes.recipe import schema

    return schema()


def recipes_page() -> str:
    """docs/recipes.md: the shipped recipes, and every field that a recipe can set."""
    parts = [f"# Recipes\n\n<!-- {MADE} -->\n"]
    return "\n".join(parts)


# Links and examples ----------------------------------------------------------------------------------------------------


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Links to files of the repository that are not there, and to headings that no page has."""
    for target in LINK.findall(FENCE.sub("", text)):
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
    """Python blocks that do not parse or use what makar lacks; commands and options that do not exist."""
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
    for node in ast.walk(tree):
        of_makar = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "makar"
        if of_makar and cast(ast.Attribute, node).attr not in makar.__all__:
            yield f"python block uses makar.{cast(ast.Attribute, node).attr}, which does not exist"


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
    except typer.BadParameter.__bases__[0] as fault:
        yield f"{line!r}: {cast(Any, fault).format_message()}"


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))

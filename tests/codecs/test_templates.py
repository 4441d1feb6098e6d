"""The templates of the field, as TRL carries them, in our sandbox and in that of transformers."""

from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest

from makar.codecs.chat import named
from makar.codecs.template import ChatTemplate
from makar.core.errors import InputError

SOURCES = sorted(Path(find_spec("trl").origin).parent.glob("chat_templates/*.jinja"))
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "look", "arguments": {"at": "moon"}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Look at something.",
        "parameters": {
            "type": "object",
            "properties": {"at": {"type": "string", "description": "what"}},
            "required": ["at"],
        },
    },
}
TALKS = [
    [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": "Yes, hello"}],
    [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": " Hi\n"},
        {"role": "assistant", "content": "Yo"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nso"},
    ],
    [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": "", "tool_calls": [CALL], "reasoning_content": "should I?"},
        {"role": "tool", "name": "look", "content": "round", "tool_call_id": "abcdefghi"},
        {"role": "assistant", "content": "It is round."},
    ],
]


def theirs(source, messages, variables):
    import jinja2
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        return render_jinja_template([messages], chat_template=source, **variables)[0][0]
    except (jinja2.TemplateError, TypeError):
        return None


def ours(source, messages, variables):
    try:
        return ChatTemplate(source).render([named(message) for message in messages], **variables)
    except InputError:
        return None


def check(path):
    source = path.read_text()
    rendered = 0
    for messages, tools, prompt in product(TALKS, (None, [TOOL]), (False, True)):
        variables = {"bos_token": "<b>", "eos_token": "<e>", "tools": tools, "add_generation_prompt": prompt}
        found = ours(source, messages, variables)
        assert found == theirs(source, messages, variables)
        rendered += found is not None
    return rendered


@pytest.mark.parametrize("path", SOURCES[::12], ids=lambda path: path.stem)
def test_a_template_in_use_renders_as_in_transformers(path):
    check(path)


@pytest.mark.slow
def test_all_templates_in_use_render_as_in_transformers():
    assert len(SOURCES) > 40
    assert sum(map(check, SOURCES)) > 8 * len(SOURCES)

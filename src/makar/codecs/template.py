"""Chat templates: how a conversation is written as text. They are programs of strangers, and run in a sandbox."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from jinja2 import Template, TemplateError

from makar.codecs.bpe import Bpe
from makar.codecs.purse import purse
from makar.codecs.sandbox import compiled, marking
from makar.core.errors import InputError, ModelError
from makar.core.messages import Message

MEND = "use another template, or ask its author"

LONGEST_SOURCE = 1 << 16
"""Characters of a template; the longest in use have a quarter of it."""

TEMPLATE = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- 'These tools can be called:\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson + '\\n' }}
    {%- endfor %}
    {{- 'A call is written as <tool_call>{"name": ..., "arguments": ...}</tool_call>.<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages if message.role != 'system' %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
        {{- message.content or '' }}
        {%- for call in message.tool_calls or [] %}
            {%- set called = call.function or call %}
            {{- '<tool_call>' }}
            {{- {'name': called.name, 'arguments': called.arguments} | tojson }}
            {{- '</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\\n' }}
    {%- else %}
        {{- message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""ChatML over the special tokens of every tokenizer trained here, with tools."""


@final
@dataclass(frozen=True)
class ChatTemplate:
    """How conversations are written as text.

    Args:
        source: Jinja, as transformers has it.
    """

    source: str

    @cached_property
    def template(self) -> Template:
        """The source, compiled.

        Raises:
            ModelError: It is too long, not Jinja, or asks for what no template may have.
        """
        if len(self.source) > LONGEST_SOURCE:
            raise ModelError("the chat template is too long", value=f"{len(self.source)} characters", fix=MEND)
        try:
            return compiled(self.source)
        except TemplateError as fault:
            raise ModelError(f"the chat template is refused: {fault.message}", fix=MEND) from None
        except (SyntaxError, RecursionError, MemoryError, ValueError, TypeError) as fault:
            raise ModelError(f"the chat template cannot be read: {type(fault).__name__}", fix=MEND) from None

    @property
    def marks(self) -> bool:
        """Whether it says itself what the assistant writes."""
        return "endgeneration" in self.source

    def render(
        self, messages: Sequence[Message], marks: tuple[str, str] = ("", ""), guard: str = "", **variables: Any
    ) -> str:
        """A conversation as text.

        Args:
            messages: Plain data, already checked.
            marks: What to put before and after all that the assistant writes.
            guard: A character that must come through as it is.
            variables: What the template can see besides: tools, add_generation_prompt, names of special tokens.

        Raises:
            InputError: The template refuses the conversation, fails, or does more than a template may.
        """
        template = self.template
        try:
            with purse(), marking(marks, guard):
                return template.render(messages=messages, **variables)
        except TemplateError as fault:
            raise InputError(f"the chat template stops: {fault.message}", fix=MEND) from None
        except Exception as fault:  # somebody else's program: whatever it stumbles over is its own fault
            what = " ".join(f"{type(fault).__name__}: {fault}"[:200].split())
            raise InputError(f"the chat template fails: {what}", fix=MEND) from None


def template_of(codec: Bpe) -> ChatTemplate:
    """The tokenizer's own template, or else ours.

    Raises:
        ModelError: It has none, nor the special tokens of ours.
    """
    if codec.chat_template is not None:
        return ChatTemplate(codec.chat_template)
    if not {"<|im_start|>", "<|im_end|>"} <= codec.special.keys():
        raise ModelError("the tokenizer has no chat template", fix="put a chat_template.jinja beside tokenizer.json")
    return ChatTemplate(TEMPLATE)

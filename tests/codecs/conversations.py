"""Conversations drawn at random, and templates in the manners of the field."""
# ruff: noqa: E501

import random

from makar.codecs.template import TEMPLATE

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are of use.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""With a system message of its own; it does not say what the assistant writes."""

MARKED = """\
{% for message in messages %}
    {%- set header = '<|im_start|>' ~ message.role ~ '\\n' %}
    {%- if message.role == 'assistant' %}
{{ header }}{% generation %}{{ (message.content | trim) ~ '<|im_end|>' ~ '\\n' }}{% endgeneration %}
    {%- else %}
{{ header ~ (message.content | trim) ~ '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
"""The mark holds the line behind the end of the turn too."""

HEADERS = """\
{{- bos_token }}
{%- set ns = namespace(system='', turns=0) %}
{%- if messages[0]['role'] == 'system' %}
    {%- set ns.system = messages[0]['content'].strip() %}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role not in ['user', 'assistant', 'tool'] %}{{ raise_exception('who is ' ~ message.role) }}{% endif %}
    {%- set ns.turns = ns.turns + 1 %}
    {{- '<|reserved_0|>' + message.role + '<|reserved_1|>\\n\\n' }}
    {%- if loop.first and ns.system %}{{- ns.system + '\\n\\n' }}{% endif %}
    {{- message['content'].replace('\\r\\n', '\\n') + eos_token }}
{%- endfor %}
{%- if tools is defined and tools %}{{- tools | tojson(indent=4) }}{% endif %}
{%- if add_generation_prompt %}{{- '<|reserved_0|>assistant<|reserved_1|>\\n\\n' }}{% endif %}"""
"""In the manner of Llama 3: headers, the end of the text as the end of a turn."""

OUTSIDE = """\
{%- for m in messages -%}
<|im_start|>{{ m.role }}
{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}<|im_end|>
{% endfor -%}
{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""The mark leaves out what ends the turn."""

THINKS = TEMPLATE.replace(
    "assistant\\n' }}\n{%- endif %}\n", "assistant\\n<think>\\n\\n</think>\\n\\n' }}\n{%- endif %}\n"
)
"""In the manner of Qwen 3 that is not to think: the prompt ends in an empty thought, which no answer begins with."""

PIECES = [
    "the moon", "Schnee", "月光", "🌙", "é", "e\u0301", "\n", "\n\n", " ", "  ", "\t", "{{ 7 * 7 }}", "{% endfor %}", "{#",
    "12", "3.14", "'ll", "<|", "|>", "im_end", "<think>", "&amp;", "<b>", '"', "\\", "\u2028", "\u00a0", "\x00", "user",
]  # fmt: skip


def text(draw, most=8):
    return "".join(draw.choice(PIECES) for _ in range(draw.randint(0, most)))


def conversation(seed):
    """A conversation that every template above accepts."""
    draw = random.Random(seed)
    messages = [{"role": "system", "content": text(draw)}] if draw.random() < 0.4 else []
    for _ in range(draw.randint(1, 4)):
        messages.append({"role": "user", "content": text(draw)})
        if draw.random() < 0.1:
            messages.append({"role": "tool", "content": text(draw)})
        messages.append({"role": "assistant", "content": text(draw) + draw.choice(["Yes", "no.", "月"])})
    return messages


def tooled(seed):
    """The same with tools told, and an assistant who calls them: without a word, with an empty one, or with some."""
    draw = random.Random(f"tools {seed}")
    tools = [
        {
            "type": "function",
            "function": {
                "name": f"look_{k}",
                "description": text(draw),
                "parameters": {"type": "object", "at": [k, None]},
            },
        }
        for k in range(draw.randint(1, 3))
    ]
    messages = []
    for message in conversation(seed):
        if message["role"] == "assistant" and draw.random() < 0.5:
            calls = [
                {
                    "type": "function",
                    "function": {"name": "look_0", "arguments": {text(draw, 2): text(draw), "n": draw.random()}},
                }
                for _ in range(draw.randint(1, 2))
            ]
            said = draw.choice([{}, {"content": None}, {"content": ""}, {"content": text(draw)}])
            messages += [{"role": "assistant", "tool_calls": calls, **said}, {"role": "tool", "content": text(draw)}]
        messages.append(message)
    return messages, draw.choice([tools, tools, None])

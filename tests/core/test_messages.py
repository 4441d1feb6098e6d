import pytest

from makar.core.messages import ROLES, fault_in

CALL = {"function": {"name": "look", "arguments": {}}}


def test_a_conversation_may_begin_with_one_system_message_and_hold_every_role():
    said = [{"role": role, "content": "a"} for role in ROLES]
    assert fault_in(said) is None
    assert fault_in([{"role": "user", "content": ""}, {"role": "assistant", "tool_calls": [CALL]}]) is None


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([], "a conversation without messages"),
        (["hi"], "a message is not an object"),
        ([{"content": "hi"}], "a message without a role"),
        ([{"role": None, "content": "hi"}], "an unknown role"),
        ([{"role": "human", "content": "hi"}], "an unknown role"),
        ([{"role": "system", "content": "a"}] * 2, "two system messages"),
        (
            [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
            "a system message that is not the first",
        ),
        ([{"role": "user", "content": 3}], "the content of a message is not text"),
        ([{"role": "user", "content": None}], "a message without content"),
        ([{"role": "assistant", "content": "\t\n"}], "an empty completion"),
        ([{"role": "assistant", "tool_calls": []}], "a message without content"),
        ([{"role": "assistant", "tool_calls": ["look"]}], "tool_calls is not a list of objects"),
    ],
)
def test_every_fault_has_a_name_without_data_and_a_fix(messages, fault):
    found, fix = fault_in(messages)
    assert found == fault
    assert fix

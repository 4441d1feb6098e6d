import pytest

from makar.core.errors import InputError
from makar.evaluate.choice import Question
from makar.evaluate.tasks import Task, read_tasks


def tasks(tmp_path, *lines: str):
    path = tmp_path / "tasks.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return read_tasks(path)


def test_each_kind_of_line_is_read(tmp_path):
    found = tasks(
        tmp_path,
        '{"question": "The sky is", "choices": ["blue", "loud"], "answer": 0}',
        "",
        '{"question": "The sky is", "choices": ["blue", "loud"], "answer": "loud"}',
        '{"prompt": "2 + 2 =", "answer": " 4 "}',
        '{"prompt": [{"role": "user", "content": "A prime?"}], "pattern": "\\\\b(2|3|5|7)\\\\b"}',
        '{"prompt": "Name a colour.", "answer": ["red", "blue"]}',
    )
    assert found[:2] == [Question("The sky is", ("blue", "loud"), 0), Question("The sky is", ("blue", "loud"), 1)]
    exact, pattern, either = found[2:]
    assert isinstance(exact, Task)
    assert (exact.right(" 4\n"), exact.right("42"), exact.right("four")) == (True, False, False)
    assert (pattern.right("It is 7."), pattern.right("It is 17.")) == (True, False)
    assert either.right("blue")
    assert not either.right("Blue")


def test_overlap_is_f1_over_words_with_the_best_answer():
    task = Task("?", ("the red house", "a tree"))
    assert task.overlap("The red HOUSE!") == 1
    assert task.overlap("the house") == pytest.approx(2 * 2 / 5)
    assert task.overlap("house house house house") == pytest.approx(2 / 7)
    assert task.overlap("nothing") == task.overlap("") == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1]", "not a JSON object"),
        ('{"answer": "x"}', "no 'prompt' and no 'choices'"),
        ('{"prompt": "x"}', "neither 'answer' nor 'pattern' is text"),
        ('{"prompt": "x", "answer": 4}', "neither 'answer' nor 'pattern'"),
        ('{"prompt": "x", "pattern": "("}', "not a pattern"),
        ('{"choices": ["a", "b"], "answer": 0}', "no 'question'"),
        ('{"question": "x", "choices": ["a"], "answer": 0}', "not two or more"),
        ('{"question": "x", "choices": ["a", "b"], "answer": 2}', "none of the choices"),
        ('{"question": "x", "choices": ["a", "b"]}', "none of the choices"),
    ],
)
def test_a_line_that_is_no_task_is_said_with_its_number(tmp_path, line, said):
    with pytest.raises(InputError, match=said) as caught:
        tasks(tmp_path, '{"prompt": "x", "answer": "y"}', line)
    assert "tasks.jsonl, line 2" in str(caught.value)


def test_files_without_tasks(tmp_path):
    with pytest.raises(InputError, match="there is no task"):
        tasks(tmp_path, "")
    with pytest.raises(InputError, match="cannot be read"):
        read_tasks(tmp_path / "nowhere.jsonl")

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from makar.core.errors import InputError
from makar.data.archives import on_disk
from makar.data.chats import FORMATS, as_line, contents, kind_of, normalised, recognise, unanswered
from makar.data.collect import collect
from makar.data.config import CollectOptions
from makar.data.dataset import Dataset
from makar.data.document import Document, Fault
from makar.data.read import read

HI, YES = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}
NO = {"role": "assistant", "content": "no"}
BE = {"role": "system", "content": "be brief"}
TOOL = {"type": "function", "function": {"name": "look"}}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"at": 1}}}

GOOD = [
    ({"messages": [HI, YES]}, {"messages": [HI, YES]}),
    ({"messages": [BE, HI, YES, HI, NO], "id": 7}, {"messages": [BE, HI, YES, HI, NO]}),
    ({"messages": [HI, YES], "tools": [TOOL]}, {"messages": [HI, YES], "tools": [TOOL]}),
    ({"messages": [HI, YES], "tools": json.dumps([TOOL])}, {"messages": [HI, YES], "tools": [TOOL]}),
    ({"messages": [HI, YES], "tools": None, "system": ""}, {"messages": [HI, YES]}),
    ({"messages": json.dumps([HI, YES])}, {"messages": [HI, YES]}),
    ({"messages": [HI, YES], "system": "be brief"}, {"messages": [BE, HI, YES]}),
    ({"messages": [HI | {"name": None, "mood": "glad"}, YES]}, {"messages": [HI, YES]}),
    ({"messages": [HI, YES | {"thinking": "hm"}]}, {"messages": [HI, YES | {"reasoning_content": "hm"}]}),
    (
        {"messages": [HI, {"role": "assistant", "content": None, "tool_calls": json.dumps([CALL])}]},
        {"messages": [HI, {"role": "assistant", "tool_calls": [CALL]}]},
    ),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]},
                YES,
            ]
        },
        {"messages": [HI, YES]},
    ),
    (
        {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]},
        {"messages": [HI, YES]},
    ),
    ({"conversations": [{"from": "Human", "value": "hi"}, YES], "system": "be brief"}, {"messages": [BE, HI, YES]}),
    ({"prompt": "hi", "completion": "yes"}, {"messages": [HI, YES]}),
    ({"prompt": [BE, HI], "completion": [YES]}, {"messages": [BE, HI, YES]}),
    ({"instruction": "hi", "input": "", "output": "yes"}, {"messages": [HI, YES]}),
    (
        {"instruction": "hi", "input": "there", "output": "yes"},
        {"messages": [{"role": "user", "content": "hi\n\nthere"}, YES]},
    ),
    ({"prompt": "hi", "chosen": "yes", "rejected": "no"}, {"prompt": [HI], "chosen": [YES], "rejected": [NO]}),
    ({"prompt": [HI], "chosen": [YES], "rejected": [NO]}, {"prompt": [HI], "chosen": [YES], "rejected": [NO]}),
    ({"prompt": "hi", "chosen": [HI, YES], "rejected": [HI, NO]}, {"prompt": [HI], "chosen": [YES], "rejected": [NO]}),
    ({"chosen": [BE, HI, YES], "rejected": [BE, HI, NO]}, {"prompt": [BE, HI], "chosen": [YES], "rejected": [NO]}),
    ({"prompt": "hi", "completion": "yes", "label": True}, {"prompt": [HI], "completion": [YES], "label": True}),
    ({"prompt": "hi", "completion": "yes", "label": "false"}, {"prompt": [HI], "completion": [YES], "label": False}),
    ({"prompt": "hi", "label": None, "answer": 12}, {"prompt": [HI], "answer": 12}),
    ({"prompt": [BE, HI], "answer": "yes", "group": 1}, {"prompt": [BE, HI], "answer": "yes"}),
]

BAD = [
    ({"messages": [{"content": "hi"}, YES]}, "a message without a role"),
    ({"messages": [BE, BE, HI, YES]}, "two system messages"),
    ({"messages": [BE, HI, YES], "system": "be long"}, "two system messages"),
    ({"messages": [HI, {"role": "narrator", "content": "so"}]}, "an unknown role"),
    ({"messages": [HI, {"role": "assistant", "content": ""}]}, "an empty completion"),
    ({"messages": [HI]}, "a conversation in which the assistant says nothing"),
    ({"messages": []}, "a conversation without messages"),
    ({"messages": "hi"}, "the messages are not a list"),
    ({"messages": ["hi"]}, "a message is not an object"),
    ({"messages": [HI, YES], "tools": "look"}, "tools are not a list of objects"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, YES]},
        "a conversation's picture: no place is given",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "audio"}]}, YES]},
        "a part of a message is neither text nor a picture",
    ),
    ({"conversations": [{"value": "hi"}]}, "a message without a role"),
    ({"prompt": "hi", "completion": " "}, "an empty completion"),
    ({"prompt": 7, "completion": "yes"}, "the messages are not a list"),
    ({"prompt": "hi", "chosen": "yes", "rejected": "yes"}, "chosen and rejected are equal"),
    ({"prompt": "hi", "chosen": "yes", "rejected": ""}, "an empty completion"),
    ({"prompt": "hi", "chosen": "yes", "rejected": " yes\n"}, "chosen and rejected are equal"),
    ({"chosen": [HI, YES], "rejected": [HI, YES]}, "chosen and rejected are equal"),
    ({"chosen": "yes", "rejected": "no"}, "two answers and no prompt"),
    ({"prompt": [HI], "chosen": [HI], "rejected": [NO]}, "an answer that is not the assistant's"),
    ({"prompt": "hi", "completion": "yes", "label": "good"}, "a label that is neither true nor false"),
    ({"prompt": [HI, YES]}, "a prompt that ends with the assistant"),
]


def items(path, data=None):
    if data is not None:
        path.write_text(data)
    return list(read(on_disk(path, path.name), path.name))


@pytest.mark.parametrize(("row", "record"), GOOD)
def test_every_format_becomes_the_canonical_record(row, record):
    made = recognise(row)(row)
    assert made == record
    assert normalised(json.dumps(made)) == json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def test_a_record_says_its_kind():
    kinds = [kind_of(record) for _, record in GOOD]
    assert sorted(set(kinds)) == ["chat", "judged", "preference", "prompts"]
    assert all(("messages" in record) == (kind == "chat") for kind, (_, record) in zip(kinds, GOOD, strict=True))


def test_every_format_has_an_example():
    used = {recognise(row) for row, _ in GOOD}
    assert used == {make for _, make in FORMATS}


def test_what_no_format_has_is_no_record():
    assert recognise({"title": "a", "body": "b"}) is None
    assert recognise({"messages": None, "output": "b"}) is None


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_row_that_does_not_fit_is_a_fault_with_its_line(tmp_path, row, reason):
    rows = [json.dumps(given) for given in ({"messages": [HI, YES]}, row)]
    good, bad = items(tmp_path / "a.jsonl", "\n".join(rows))
    assert good == Document(as_line({"messages": [HI, YES]}), "a.jsonl#1", "a.jsonl#1", "a.jsonl", "chat")
    assert isinstance(bad, Fault)
    assert (bad.reason, bad.where) == (reason, "a.jsonl, line 2")
    assert bad.fix
    assert bad.bytes > 0


def test_a_field_that_json_cannot_hold_is_a_fault(tmp_path):
    pq.write_table(pa.table({"prompt": ["hi"], "answer": [b"\xff"]}), tmp_path / "a.parquet")
    (fault,) = items(tmp_path / "a.parquet")
    assert fault.reason == "a field that JSON cannot hold"
    assert fault.where == "a.parquet, row 1"


def test_tables_hold_conversations_too(tmp_path):
    rows = [{"prompt": f"what is {n}?", "completion": f"it is {n}", "group": n // 2} for n in range(4)]
    (tmp_path / "a.csv").write_text(
        "prompt,completion,group\n" + "".join(f"{r['prompt']},{r['completion']},{r['group']}\n" for r in rows)
    )
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    nested = [
        {
            "messages": [
                {"role": "user", "content": row["prompt"], "tool_calls": None},
                {"role": "assistant", "content": row["completion"], "tool_calls": None},
            ],
            "group": row["group"],
        }
        for row in rows
    ]
    pq.write_table(pa.Table.from_pylist(nested), tmp_path / "b.parquet")
    found = {name: items(tmp_path / name) for name in ("a.csv", "a.parquet", "b.parquet")}
    texts = [[document.text for document in documents] for documents in found.values()]
    assert texts[0] == texts[1] == texts[2]
    assert [document.group for document in found["b.parquet"]] == [f"b.parquet#{n // 2}" for n in range(4)]


def test_a_text_stays_a_text_whatever_stands_beside_it(tmp_path):
    (document,) = items(tmp_path / "a.jsonl", json.dumps({"text": "a poem", "prompt": "hi"}))
    assert (document.text, document.kind) == ("a poem", "text")


def test_words_are_normalised_and_json_is_not(tmp_path):
    said = {"role": "user", "content": "\na&amp;b\r\ncafe\u0301 &lt;br&gt;\n"}
    text = json.dumps({"messages": [said, YES], "tools": [{"pattern": "\r\n"}]})
    record = json.loads(normalised(text))
    assert record["messages"][0]["content"] == "a&amp;b\ncaf\u00e9 &lt;br&gt;"
    assert record["tools"] == [{"pattern": "\r\n"}]
    assert contents(normalised(text)) == "a&amp;b\ncaf\u00e9 &lt;br&gt;\nyes"


# Collections.

WORDS = ["moon", "sea", "wind", "rose", "night", "star", "bird", "stone", "river", "field"]


def rows_of(count, start=0):
    """Conversations that share a long phrase and differ in the rest."""
    for n in range(start, start + count):
        words = [WORDS[(n // 10**k) % 10] + "aeiou"[(n + k) % 5] for k in range(6)] * 3
        yield {"messages": [{"role": "user", "content": f"Write a poem about the {n} " + " ".join(words)},
                            {"role": "assistant", "content": f"{n} " + " ".join(reversed(words))}]}  # fmt: skip


def test_a_dataset_of_conversations_says_its_kind_and_drops_repetitions(tmp_path):
    rows = list(rows_of(60))
    lines = [json.dumps(row) for row in [*rows, rows[3], {"messages": [{"content": "hi"}]}]]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    told = []
    options = CollectOptions(valid_fraction=0.1, test_fraction=0.1)
    manifest = collect([str(tmp_path / "a.jsonl")], tmp_path / "out", options, told.append)
    assert manifest.kind == "chat"
    assert manifest.read.documents == 62
    assert manifest.dropped["a message without a role"].documents == 1
    assert sum(manifest.dropped[key].documents for key in manifest.dropped if "duplicate" in key) >= 1
    assert any("a.jsonl, line 62: a message without a role; say who speaks" in line for line in told)
    dataset = Dataset.open(tmp_path / "out")
    documents = [document for split in ("train", "valid", "test") for document in dataset.documents(split)]
    assert {document.kind for document in documents} == {"chat"}
    assert {json.dumps(json.loads(document.text)) for document in documents} <= set(lines)
    assert "a conversation as one line of JSON" in (tmp_path / "out" / "README.md").read_text()


def test_the_first_few_faults_of_a_kind_are_told_and_all_are_listed(tmp_path):
    bad = [{"messages": [{"content": "hi"}]}] * 9
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows_of(40), *bad]))
    told = []
    collect([str(tmp_path / "a.jsonl")], tmp_path / "out", CollectOptions(), told.append)
    said = [line for line in told if "without a role" in line]
    assert len(said) == 5
    assert said[-1].endswith("more of these are only in quarantine.jsonl")
    listed = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [row["where"] for row in listed] == [f"{tmp_path / 'a.jsonl'}, line {number}" for number in range(41, 50)]
    assert {(row["reason"], bool(row["fix"])) for row in listed} == {("a message without a role", True)}
    assert "`quarantine.jsonl` lists" in (tmp_path / "out" / "README.md").read_text()


def test_one_dataset_holds_one_kind(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows_of(20)))
    (tmp_path / "b.jsonl").write_text(json.dumps({"prompt": "hi", "chosen": "yes", "rejected": "no"}))
    with pytest.raises(InputError, match=r"b.jsonl#1: a row of another kind among rows of 'chat' \(got 'preference'\)"):
        collect([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_which_nothing_fits_says_why(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": [{"content": "hi"}]}))
    with pytest.raises(InputError, match="a.jsonl, line 1.*nothing readable.*without a role.*say who speaks"):
        collect([str(tmp_path / "a.jsonl")], tmp_path / "out")


def test_a_manifest_of_prose_is_as_it_was_before_there_were_kinds(tmp_path):
    words = [f"{word}{n} sings over the {word} and the {n}th hill, slowly" for n, word in enumerate(WORDS * 9)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in words))
    manifest = collect([str(tmp_path / "a.jsonl")], tmp_path / "out")
    assert manifest.kind == "text"
    assert "kind" not in json.loads((tmp_path / "out" / "manifest.json").read_text())


def test_a_conversation_without_its_last_answer_is_a_prompt_with_one():
    record = {"messages": [BE, HI, YES, HI, NO], "tools": [TOOL]}
    assert unanswered(record) == {"prompt": [BE, HI, YES, HI], "answer": "no", "tools": [TOOL]}
    assert unanswered({"messages": [HI, YES, HI]}) == {"prompt": [HI], "answer": "yes"}
    assert unanswered({"messages": [HI, {"role": "assistant", "tool_calls": [CALL]}]})["answer"] == ""
    prompt = {"prompt": [HI], "answer": "yes", "label": 3}
    assert unanswered(prompt) == prompt

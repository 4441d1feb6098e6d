import io
import os
import pickle
import subprocess

import numpy as np
import pytest

from makar.core.errors import InputError
from makar.data.pickles import ADMITTED, read_frame
from tests.data.corpora import Said, array, dumps, frame, named


def test_a_frame_is_read_without_pandas():
    columns = read_frame(io.BytesIO(dumps(frame(["one", "two", "three"], [3, 1, 4]))), "x")
    assert list(columns) == ["syllables", "text", "meter"]
    assert columns["text"] == ["one", "two", "three"]
    assert columns["syllables"].tolist() == [3, 1, 4]


class Call:
    """What an attacker writes: `__reduce__` names any function and its arguments."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def payloads(flag):
    shell = f"touch {flag}"
    inside = frame(["a"])
    inside.state["_data"] = Call(os.system, shell)
    objects = array("O8", (1,), [Call(eval, f"open({str(flag)!r}, 'w').close()")])
    held = frame(["a", "b"])
    held.state["_data"].state[3]["0.14.1"]["blocks"][0]["values"] = objects
    return {
        "os.system": pickle.dumps(Call(os.system, shell)),
        "protocol 0": pickle.dumps(Call(os.system, shell), 0),
        "eval": pickle.dumps(Call(eval, f"open({str(flag)!r}, 'w').close()")),
        "exec": pickle.dumps(Call(exec, f"open({str(flag)!r}, 'w').close()")),
        "popen": pickle.dumps(Call(subprocess.Popen, shell)),
        "getattr": pickle.dumps(Call(getattr, "", "__class__")),
        "a list of good and bad": pickle.dumps([1, {"x": (Call(os.system, shell),)}]),
        "inside the frame": dumps(inside),
        "inside an object array": dumps(held),
        "numpy's own loader": dumps(Said("numpy", "load", (str(flag),))),
        "numpy's reader of files": dumps(Said("numpy", "fromfile", (str(flag),))),
        "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        "inst opcode": b"(S'touch x'\nios\nsystem\n.",
        "a persistent id": b"\x80\x04Pos.system\n.",
        "an extension code": b"\x80\x02\x82\x01.",
        "the function itself": b"cposix\nsystem\n.",
    }


@pytest.mark.parametrize("name", ["os.system", "protocol 0", "eval", "exec", "a list of good and bad"])
def test_the_payloads_are_live(name, tmp_path):
    pickle.loads(payloads(tmp_path / "owned")[name])
    assert (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", list(payloads("x")))
def test_a_malicious_pickle_is_refused_and_runs_nothing(name, tmp_path):
    flag = tmp_path / "owned"
    with pytest.raises(InputError, match=r"not admitted|not a pickled table"):
        read_frame(io.BytesIO(payloads(flag)[name]), "corpus.pkl")
    assert not flag.exists()


def test_admitted_names_are_never_called(tmp_path):
    """Every admitted name is only written down: numpy and builtins are not even looked up."""
    for module, name in ADMITTED:
        with pytest.raises(InputError, match="not a pickled table"):
            read_frame(io.BytesIO(dumps(Said(module, name, (10**12,)))), "x")


def test_state_cannot_be_set_on_a_class():
    blob = dumps([named("numpy", "dtype")])
    assert blob.endswith(b"a.")
    attack = blob[:-2] + b"N}\x8c\x01xK\x01s\x86ba."  # BUILD with (None, {"x": 1}) on the class itself
    with pytest.raises(InputError):
        read_frame(io.BytesIO(attack), "x")


@pytest.mark.parametrize(
    ("what", "blob"),
    [
        ("empty", b""),
        ("text", b"hello"),
        ("truncated", dumps(frame(["a", "b"]))[:-40]),
        ("not strings", dumps(frame(["a", 7]))),
        ("too few rows", dumps(array("O8", (2, 5), ["a"]))),
        ("not a frame", pickle.dumps({"a": 1})),
    ],
)
def test_what_is_not_such_a_table_is_an_error_in_one_line(what, blob):
    with pytest.raises(InputError) as caught:
        read_frame(io.BytesIO(blob), "corpus.pkl")
    assert "corpus.pkl" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_keep_their_type():
    columns = read_frame(io.BytesIO(dumps(frame(["x"], [2**40]))), "x")
    assert columns["syllables"].dtype == np.int64
    assert columns["syllables"][0] == 2**40

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from makar.core.errors import InputError
from makar.data.tokens import TokenShards, chunks, pieces, write_tokens

TEXTS = ["the moon", "", "a", "over the purple moor " * 9, "sea"]


def encode(texts):
    return [[1, *text.encode()] for text in texts]


def write(path, texts=TEXTS, vocab_size=300, **options):
    return write_tokens(iter(texts), encode, path / "shards", "tok-hash", vocab_size, **options)


@pytest.mark.parametrize("shard_tokens", [1, 7, 2**28])
@pytest.mark.parametrize(("vocab_size", "width"), [(300, 2), (65_536, 2), (65_537, 4)])
def test_what_was_written_is_read_across_shards(tmp_path, shard_tokens, vocab_size, width):
    shards = write(tmp_path, vocab_size=vocab_size, shard_tokens=shard_tokens)
    rows = encode(TEXTS)
    stream = np.concatenate(rows)
    assert shards.tokens == len(stream)
    assert shards.documents == len(rows)
    assert shards.offsets.tolist() == [0, *np.cumsum([len(row) for row in rows]).tolist()]
    positions = np.random.default_rng(0).integers(0, len(stream), 500)
    found = shards.take(positions)
    assert found.dtype == np.int64
    assert np.array_equal(found, stream[positions])
    files = list(shards.path.glob("tokens-*.bin"))
    assert len(files) == -(-len(stream) // shard_tokens)
    assert sum(file.stat().st_size for file in files) == width * len(stream)


def test_an_id_of_the_whole_range_survives(tmp_path):
    for vocab_size in (2**16, 2**32):
        top = write_tokens(["x"], lambda _: [[0, vocab_size - 1]], tmp_path / "s", "h", vocab_size)
        assert top.take(np.array([1, 0])).tolist() == [vocab_size - 1, 0]


def test_equal_tokens_have_equal_hashes_and_other_tokens_others(tmp_path):
    first = write(tmp_path / "a").hash
    assert write(tmp_path / "b").hash == first
    assert write(tmp_path / "c", [*TEXTS, "more"]).hash != first


@pytest.mark.parametrize("file", ["tokens-00000.bin", "tokens-00001.bin", "offsets.bin"])
def test_a_flipped_byte_is_named_with_its_file_and_the_fix(tmp_path, file):
    path = write(tmp_path, shard_tokens=100).path
    data = bytearray((path / file).read_bytes())
    data[len(data) // 2] ^= 0x10
    (path / file).write_bytes(data)
    with pytest.raises(InputError, match="SHA-256 differs; remove .* run the same command again") as caught:
        TokenShards.open(path, "tok-hash")
    assert str(path / file) in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b""])
def test_a_shard_of_another_size_is_refused(tmp_path, change):
    file = write(tmp_path).path / "tokens-00000.bin"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(InputError, match=r"tokens-00000.bin: token shard is not \d+ bytes long \(got \d+\)"):
        TokenShards.open(file.parent, "tok-hash")


def test_a_missing_file_is_named(tmp_path):
    path = write(tmp_path).path
    (path / "offsets.bin").unlink()
    with pytest.raises(InputError, match=r"offsets\.bin: token shard is missing"):
        TokenShards.open(path, "tok-hash")
    with pytest.raises(InputError, match=r"meta\.json: file is missing"):
        TokenShards.open(tmp_path, "tok-hash")


def test_any_flipped_byte_of_the_description_is_found(tmp_path):
    file = write(tmp_path).path / "meta.json"
    good = file.read_bytes()
    for place in range(0, len(good), 5):
        bad = bytearray(good)
        bad[place] ^= 0x02
        if bytes(bad).strip() == good.strip():
            continue
        file.write_bytes(bad)
        try:
            same = json.loads(bad) == json.loads(good)
        except ValueError:
            same = False
        if not same:
            with pytest.raises(InputError):
                TokenShards.open(file.parent, "tok-hash")
    file.write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        TokenShards.open(file.parent, "tok-hash")


def test_tokens_of_another_tokenizer_are_refused(tmp_path):
    path = write(tmp_path).path
    with pytest.raises(InputError, match="another tokenizer"):
        TokenShards.open(path, "other-hash")


@pytest.mark.parametrize("ids", [[5, 300], [-1]])
def test_an_id_outside_the_vocabulary_leaves_nothing_behind(tmp_path, ids):
    with pytest.raises(InputError, match="outside the vocabulary"):
        write_tokens(["x"], lambda _: [ids], tmp_path / "shards", "h", 300)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("texts", [[], [""]])
def test_nothing_to_encode_is_refused_and_leaves_nothing_behind(tmp_path, texts):
    with pytest.raises(InputError, match="no document"):
        write_tokens(texts, lambda found: [list(text.encode()) for text in found], tmp_path / "shards", "h", 300)
    assert not list(tmp_path.iterdir())


def test_a_fault_halfway_leaves_the_old_shards_whole(tmp_path):
    def broken():
        yield "x" * 2**20
        raise RuntimeError("the reader stopped")

    old = write(tmp_path).hash
    with pytest.raises(RuntimeError):
        write(tmp_path, broken())
    assert TokenShards.open(tmp_path / "shards", "tok-hash").hash == old
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    def measured(documents):
        tracemalloc.start()
        texts = ("moon " * 200 for _ in range(documents))
        write_tokens(texts, lambda chunk: [[7] * 100] * len(chunk), tmp_path / "s", "h", 300)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert measured(6000) < 1.3 * measured(2000)


@given(st.lists(st.text(max_size=30), max_size=30), st.integers(1, 300))
def test_chunks_hold_all_texts_in_order_and_are_bounded(texts, characters):
    found = list(chunks(iter(texts), characters))
    assert [text for chunk in found for text in chunk] == texts
    assert all(sum(len(text) + 64 for text in chunk[:-1]) < characters for chunk in found)


@given(st.integers(0, 40), st.integers(0, 60), st.integers(1, 17))
def test_pieces_meet_at_the_borders_of_shards(position, count, size):
    ids = np.arange(position, position + count)
    found = [(number, int(value)) for number, piece in pieces(ids, position, size) for value in piece]
    assert found == [(place // size, place) for place in range(position, position + count)]

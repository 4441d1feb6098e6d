"""CLIP's tokenizer is transformers' own, whatever stands in a caption."""

import json
import random

import pytest
import torch
from transformers import AutoTokenizer, CLIPTokenizer

from makar.codecs.captions import SMALLEST, Captions, train_captions
from makar.core.errors import InputError, ModelError, RecipeError

CAPTIONS = ["A cat wearing sunglasses in space", "it isn't two red apples!", "Ein Bär im Schnee, links: 42"] * 4
ALPHABET = [*range(32, 127), 9, 10, 13, 0xA0, 0x301, 0x130, 0xDF, 0x3A3, 0x200B, 0x1F431, 0xFE0F]


@pytest.fixture(scope="module")
def codec():
    return train_captions(CAPTIONS, 600, 12)


@pytest.fixture(scope="module")
def folder(codec, tmp_path_factory):
    place = tmp_path_factory.mktemp("captions")
    codec.save(place)
    return place


def spoken(seed, count):
    """Texts of characters that are trouble, of characters from anywhere, and of the words that are known."""
    dice = random.Random(seed)
    for _ in range(count):
        pick = dice.random()
        if pick < 0.4:
            yield "".join(chr(dice.choice(ALPHABET)) for _ in range(dice.randrange(20)))
        elif pick < 0.7:
            yield "".join(chr(dice.randrange(0x20, 0xD7FF)) for _ in range(dice.randrange(12)))
        else:
            yield " ".join(dice.choices(" ".join(CAPTIONS).split(), k=dice.randrange(12)))


@pytest.mark.parametrize("opened", [CLIPTokenizer, AutoTokenizer])
@pytest.mark.parametrize("seed", [0, pytest.param(range(1, 40), marks=pytest.mark.slow)])
def test_transformers_gives_the_same_ids(codec, folder, opened, seed):
    peer = opened.from_pretrained(folder)
    assert peer.model_max_length == codec.length
    for each in [seed] if isinstance(seed, int) else seed:
        texts = list(spoken(each, 200))
        found = peer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        assert torch.equal(codec.rows(texts), found)


def test_old_files_alone_give_the_same_tokenizer(codec, folder, tmp_path):
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    again = Captions.load(tmp_path)
    texts = list(spoken(5, 100))
    assert torch.equal(again.rows(texts), codec.rows(texts))
    assert again.hash == codec.hash


def test_a_row_is_a_start_the_pieces_an_end_and_padding(codec):
    (row,) = codec.ids(["a cat"]).tolist()
    assert (row[0], row[-1], len(row)) == (codec.start_id, codec.pad_id, codec.length)
    assert row.index(codec.end_id) == 3
    assert codec.decode(codec.encode(["A  CAT in\tspace"])) == ["a cat in space"]
    assert codec.ids([""])[0, :2].tolist() == [codec.start_id, codec.end_id]


def test_the_same_captions_give_the_same_tokenizer(codec):
    again = train_captions(iter(CAPTIONS), 600, 12)
    assert (again.source, again.settings, again.hash) == (codec.source, codec.settings, codec.hash)
    assert train_captions(CAPTIONS, 600, 13).hash != codec.hash


def test_what_spells_a_special_token_stays_text(codec):
    (row,) = codec.rows(["a<|endoftext|>"]).tolist()
    assert row.index(codec.end_id) == codec.length - 1


def test_a_text_longer_than_a_row_is_cut_in_data_and_refused_from_people(codec):
    text = "cat " * 30
    assert codec.rows([text])[0, -1] == codec.end_id
    with pytest.raises(InputError, match="cat cat.*too long.*30 tokens"):
        codec.ids([text])


def test_ten_thousand_words_are_too_many(codec):
    with pytest.raises(InputError, match="too long"):
        codec.ids(["word " * 10_000])


@pytest.mark.parametrize("text", ["猫", "ЖЖ Ж", "☃☃ ☃"])
def test_only_unknown_symbols(codec, text):
    assert codec.unknown(text)
    with pytest.raises(InputError, match="nothing in the caption is known"):
        codec.ids([text])
    assert not codec.unknown(f"{text} cat")


def test_half_a_surrogate_pair(codec):
    with pytest.raises(InputError, match="surrogate"):
        codec.rows(["a\ud83d"])


def test_too_small_a_vocabulary():
    with pytest.raises(RecipeError, match=f"at least {SMALLEST}"):
        train_captions(CAPTIONS, 100, 12)


def test_no_captions():
    with pytest.raises(InputError, match="no captions"):
        train_captions(["", " "], 600, 12)


def damage_json(place):
    (place / "tokenizer.json").write_text("{")


def damage_bytes(place):
    (place / "tokenizer.json").write_bytes(b"\xff\xfe")


def remove_start(place):
    settings = json.loads((place / "tokenizer_config.json").read_text())
    (place / "tokenizer_config.json").write_text(json.dumps(settings | {"bos_token": "nothing"}))


def no_files(place):
    (place / "tokenizer.json").unlink()
    (place / "merges.txt").unlink()


def no_such_merge(place):
    (place / "tokenizer.json").unlink()
    (place / "merges.txt").write_text("#version\nqq zz\n")


@pytest.mark.parametrize("fault", [damage_json, damage_bytes, remove_start, no_files, no_such_merge])
def test_a_damaged_folder_is_refused(codec, tmp_path, fault):
    codec.save(tmp_path)
    fault(tmp_path)
    with pytest.raises(ModelError):
        Captions.load(tmp_path)

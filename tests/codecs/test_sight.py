"""Conversations with pictures as tokens."""

import pytest

from makar.codecs.bpe import Bpe, train_bpe
from makar.codecs.chat import chat_ids
from makar.codecs.sight import parted, shows, sighted, sighted_ids, sighted_prompt, spelling, with_image_token
from makar.codecs.template import template_of
from makar.core.errors import InputError, ModelError, RecipeError

IMAGE = 12
SEEN = [{"type": "image", "path": "a.png"}, {"type": "text", "text": "what is <|image_pad|>?"}]
TALK = [
    {"role": "system", "content": "the cat"},
    {"role": "user", "content": SEEN},
    {"role": "assistant", "content": [{"type": "text", "text": "the "}, {"type": "text", "text": "moon"}]},
    {"role": "user", "content": [{"type": "image"}]},
    {"role": "assistant", "content": "two"},
]


@pytest.fixture(scope="module")
def plain():
    return train_bpe(["what is the cat wearing? the moon. two. "] * 9, 300)


@pytest.fixture(scope="module")
def codec(plain):
    return sighted(plain, IMAGE)


def test_pictures_are_taken_out_in_order_and_texts_joined():
    messages, pictures = parted(TALK)
    assert pictures == [{"type": "image", "path": "a.png"}, {"type": "image"}]
    assert messages[1]["content"][0] == {"type": "image"}
    assert messages[2]["content"] == "the moon"
    assert TALK[1]["content"][0]["path"] == "a.png"


def test_ids_have_the_places_of_each_picture_and_the_answers_are_learned(codec):
    messages, _ = parted(TALK)
    ids, mask = sighted_ids(codec, messages, IMAGE, 5)
    assert ids.count(IMAGE) == 10
    assert codec.text([token for token, learned in zip(ids, mask, strict=True) if learned]) == "the moontwo"
    assert ids[0] == codec.end_id
    assert sighted_prompt(codec, messages[:2], IMAGE, 5) == ids[: len(sighted_prompt(codec, messages[:2], IMAGE, 5))]


def test_what_opens_a_text_stands_there_once_whatever_the_template_says(plain):
    part = "{{ '<|image_pad|>' if part.type == 'image' else part.text }}"
    loops = "{% for m in messages %}{% for part in m.content %}" + part + "{% endfor %}{% endfor %}"
    silent = plain.speaking((), loops)
    ids = sighted_prompt(silent, parted(TALK)[0][1:2], IMAGE, 2)
    assert ids[:3] == [plain.end_id, IMAGE, IMAGE]
    assert plain.end_id not in ids[1:]


def test_a_turn_that_opens_a_text_begins_once(plain):
    turning = sighted(Bpe(plain.source, plain.settings | {"bos_token": "<|im_start|>"}), IMAGE)
    ids = sighted_prompt(turning, parted(TALK)[0][1:2], IMAGE, 2)
    assert turning.text(ids, special=True).count("<|im_start|>") == 2


def test_a_template_of_words_gives_way_and_one_of_pictures_stays(plain, codec):
    assert not shows(plain, IMAGE)
    assert not shows(plain.speaking((), "{{ messages[0].content }}"), IMAGE)
    assert shows(codec, IMAGE)
    assert sighted(codec, IMAGE) is codec
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    words = chat_ids(plain, template_of(plain), talk)
    seen = chat_ids(codec, template_of(codec), talk)
    assert seen[0] == [plain.end_id, *words[0]], "without pictures it is ChatML"


def test_a_tokenizer_without_a_token_for_pictures_gets_one(codec):
    wider = with_image_token(codec, codec.vocab_size)
    assert wider.special["<image>"] == codec.vocab_size == wider.vocab_size - 1
    assert wider.ids("the moon <image>")[:3] == codec.ids("the moon <image>")[:3]
    assert with_image_token(codec, IMAGE) is codec
    with pytest.raises(RecipeError, match="no special token") as fault:
        with_image_token(codec, codec.vocab_size + 1)
    assert str(codec.vocab_size) in str(fault.value.fix)


def test_faults_are_said(plain, codec):
    with pytest.raises(ModelError, match="no special token"):
        spelling(codec, 299)
    lost = codec.speaking((), "{{ messages[0].content | map(attribute='text') | join }}")
    with pytest.raises(InputError, match="leaves pictures out"):
        sighted_prompt(lost, parted(TALK)[0][1:2], IMAGE, 2)
    with pytest.raises(InputError, match="assistant shows a picture"):
        sighted_ids(codec, [*TALK[:2], {"role": "assistant", "content": [{"type": "image"}]}], IMAGE, 2)

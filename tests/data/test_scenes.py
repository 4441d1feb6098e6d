"""Scenes: what is held out stays out, what is said is shown, and a number always means the same picture."""

from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from makar.core.errors import InputError
from makar.data.fetch import fetch
from makar.data.scene_drawing import LETTERS, draw, sprites_of
from makar.data.scene_ground import GROUND_CODES, GROUNDS
from makar.data.scene_questions import questions_of
from makar.data.scene_things import ACCESSORIES, COLOURS, COUNTS, PLACES, POSITIONS, SIGNS, SUBJECTS, Scene
from makar.data.scene_words import PHRASINGS, caption_of, captions_of, heard, tell, unsaid
from makar.data.scenes import MISSION, SHARE, SIBLINGS, Scenes, held_out, out, pairs_of, scene_of, siblings_of
from tests.emoji import draw_set

ALL = [Scene(*names, colour="red") for names in product(SUBJECTS, ACCESSORIES, PLACES)]


@pytest.fixture(scope="module")
def sprites(tmp_path_factory):
    """Discs in place of emoji."""
    return sprites_of(fetch(str(draw_set(tmp_path_factory.mktemp("emoji")))))


def test_there_is_as_much_to_compose_as_was_promised():
    assert len(SUBJECTS) >= 40
    assert (len(ACCESSORIES), len(PLACES), len(COLOURS)) == (10, 8, 6)
    assert set(GROUNDS) == set(PLACES)
    assert {letter for sign in SIGNS for letter in sign} <= set(LETTERS)
    codes = [thing.code for thing in (*SUBJECTS.values(), *ACCESSORIES.values())]
    assert len(set(codes) | set(GROUND_CODES)) == len(codes) + len(GROUND_CODES)  # no ground shows a subject


@pytest.mark.parametrize("names", [(SUBJECTS, ACCESSORIES), (SUBJECTS, PLACES), (ACCESSORIES, PLACES)])
def test_a_tenth_of_all_pairs_is_held_out(names):
    pairs = list(product(*names))
    share = sum(out(*pair) for pair in pairs) / len(pairs)
    spread = (1 / SHARE * (1 - 1 / SHARE) / len(pairs)) ** 0.5
    assert abs(share - 1 / SHARE) < 3 * spread


def test_a_tenth_of_the_triples_of_seen_pairs_is_held_out():
    rest = [scene for scene in ALL if held_out(scene) != "pair"]
    share = sum(held_out(scene) == "triple" for scene in rest) / len(rest)
    assert abs(share - 1 / SHARE) < 3 * (0.09 / len(rest)) ** 0.5


def test_the_mission_s_triple_is_held_out_and_its_pairs_are_seen():
    mission = Scene(*MISSION, colour="black")
    assert held_out(mission) == "triple"
    assert not any(out(*pair) for pair in pairs_of(MISSION))
    for name, others in (("subject", SUBJECTS), ("accessory", ACCESSORIES), ("place", PLACES)):
        assert any(held_out(replace(mission, **{name: other})) == "seen" for other in others)


@pytest.mark.parametrize("part", ["seen", "triple", "pair"])
def test_a_stream_shows_its_part_alone_and_is_a_function_of_the_number(part):
    scenes = [scene_of(index, 7, part) for index in range(80)]
    assert {held_out(scene) for scene in scenes} == {part}
    assert scenes == [scene_of(index, 7, part) for index in range(80)]
    assert scenes != [scene_of(index, 8, part) for index in range(80)]
    assert len(set(scenes)) > 60


def test_every_name_occurs_and_what_has_no_accessory_has_no_colour():
    scenes = [scene_of(index, 0) for index in range(1500)]
    for name, known in (
        ("subject", SUBJECTS), ("accessory", ACCESSORIES), ("place", PLACES), ("colour", COLOURS), ("count", COUNTS),
        ("position", POSITIONS), ("sign", SIGNS),
    ):  # fmt: skip
        assert {getattr(scene, name) for scene in scenes} - {None} == set(known)
    assert all((scene.accessory is None) == (scene.colour is None) for scene in scenes)
    assert all((scene.count == 1) == (scene.position is not None) for scene in scenes)


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (Scene("cat", "sunglasses", "space", None), "a cat wearing sunglasses in space"),
        (Scene("owl", "umbrella", "sea", "green", 2), "two owls holding green umbrellas under the sea"),
        (Scene("wolf", "headphones", "city", "red", 3), "three wolves wearing red headphones in the city"),
        (Scene("octopus", None, "room", None, 1, "left", "hi"), "an octopus in a room on the left and the word hi"),
        (Scene("unicorn", "umbrella", "", None), "a unicorn holding an umbrella"),
    ],
)
def test_a_scene_is_told_in_plain_english(scene, said):
    assert tell(scene) == said


def test_captions_differ_in_phrasing_and_are_short_enough_for_a_small_text_tower():
    for index in range(120):
        scene = scene_of(index, 3)
        captions = captions_of(scene, index)
        assert len(captions) == len(PHRASINGS)
        assert caption_of(scene, index) == captions[0]
        for caption in captions:
            assert len(caption.replace(",", " ,").split()) <= 20
            assert SUBJECTS[scene.subject].name in caption or SUBJECTS[scene.subject].plural in caption
            assert scene.sign is None or caption.endswith(f"the word {scene.sign}")
            assert not any(f" {colour} " in caption for colour in COLOURS if colour != scene.colour)


def test_what_a_caption_asks_for_is_heard_in_every_phrasing():
    for index in range(400):
        scene = scene_of(index, 7)
        for form, phrasing in enumerate(PHRASINGS):
            told = unsaid(scene, index, form)
            assert heard(tell(told, phrasing)) == replace(told, sign=None), tell(told, phrasing)
    assert heard("A cat wearing sunglasses in space") == Scene("cat", "sunglasses", "space", None)
    assert heard("a teapot on the beach") is None


def test_captions_leave_some_things_unsaid_and_say_most():
    scenes = [scene_of(index, 5) for index in range(500)]
    whole = [scene for scene in scenes if scene.accessory and scene.position]
    said = [caption_of(scene, index) for index, scene in enumerate(whole)]
    colours = np.mean([scene.colour in text for scene, text in zip(whole, said, strict=True)])
    places = np.mean([PLACES[scene.place] in text for scene, text in zip(whole, said, strict=True)])
    positions = np.mean([POSITIONS[scene.position] in text for scene, text in zip(whole, said, strict=True)])
    assert 0.45 < colours < 0.65
    assert 0.85 < places < 0.95
    assert 0.4 < positions < 0.6


@pytest.mark.parametrize("part", ["seen", "triple", "pair"])
def test_siblings_differ_in_one_attribute_each_and_stay_in_their_part(part):
    for index in range(120):
        scenes, changed = siblings_of(index, 6, part, SIBLINGS)
        assert (scenes, changed) == siblings_of(index, 6, part, SIBLINGS)
        assert scenes[0] == scene_of(index, 6, part)
        assert {held_out(scene) for scene in scenes} == {part}
        found = [differences(scenes[0], scene) for scene in scenes[1:]]
        assert all(len(names - {"position"} or names) == 1 for names in found)  # a side goes where there are several
        assert changed == {name for names in found for name in names if len(names) == 1 or name == "count"}
        assert part != "seen" or len(scenes) == SIBLINGS


def test_the_captions_of_siblings_tell_each_of_them_from_the_others(sprites):
    scenes = Scenes(sprites, 32, 9, siblings=SIBLINGS)
    for group in range(60):
        rows = [scenes.row(group * SIBLINGS + place) for place in range(SIBLINGS)]
        changed = siblings_of(group, 9, "seen", SIBLINGS)[1]
        for _, caption, scene in rows:
            assert all(said(caption, scene, name) for name in changed)


def test_without_siblings_the_stream_is_that_of_single_scenes(sprites):
    alone = Scenes(sprites, 32, 9)
    assert [alone.scene(index) for index in range(50)] == [scene_of(index, 9) for index in range(50)]


def differences(scene, other):
    """The attributes in which two scenes differ."""
    return {name for name, value in vars(scene).items() if value != getattr(other, name)}


def said(caption, scene, name):
    """Whether a caption says an attribute, if the scene has it."""
    several = scene.count > 1
    thing = scene.accessory and (several and ACCESSORIES[scene.accessory].many or ACCESSORIES[scene.accessory].name)
    subject = SUBJECTS[scene.subject]
    words = {
        "subject": subject.plural if several else subject.name,
        "accessory": thing,
        "place": PLACES[scene.place],
        "colour": scene.colour,
        "position": scene.position and POSITIONS[scene.position],
        "count": COUNTS[scene.count] if several else subject.name,
    }
    return words[name] is None or words[name] in caption


@pytest.mark.parametrize("part", ["seen", "triple", "pair"])
def test_no_question_after_an_absent_thing_is_one_that_the_training_answers_with_no_alone(part):
    things = {word: name for name, thing in ACCESSORIES.items() for word in (thing.name, thing.many) if word}
    places = {words: name for name, words in PLACES.items()}
    asked = Counter()
    for index in range(200):
        scene = scene_of(index, 11, part)
        absent = {kind: question for question, _, kind in questions_of(scene, index) if kind.startswith("absent")}
        for kind, words in (("absent_accessory", things), ("absent_place", places)):
            (name,) = [words[end] for end in words if absent[kind].endswith(f" {end}?")]
            beside = scene.place if kind == "absent_accessory" else scene.accessory
            assert not out(scene.subject, name)
            assert beside is None or not out(*((name, beside) if kind == "absent_accessory" else (beside, name)))
            asked[kind, name] += 1
    assert sum(asked.values()) == 400
    assert {name for kind, name in asked if kind == "absent_place"} == set(PLACES)


def test_questions_are_answered_by_the_scene_and_absent_things_are_absent():
    kinds = set()
    for index in range(120):
        scene = scene_of(index, 1)
        there = tell(scene)
        for question, answer, kind in questions_of(scene, index):
            kinds.add(kind)
            if kind in ("colour", "read"):
                assert answer in there.split()
            if kind in ("where", "wearing", "position", "what", "count") and (kind, answer) != ("count", "one"):
                assert answer in there
            if kind == "there" or kind.startswith("absent"):
                assert answer == ("yes" if kind == "there" else "no")
            if kind.startswith("absent"):
                assert not any(question == asked for asked, said, _ in questions_of(scene, index) if said == "yes")
    absent = {f"absent_{what}" for what in ("subject", "place", "accessory", "sign")}
    assert kinds - absent == {"what", "count", "wearing", "colour", "where", "position", "there", "read", "caption"}
    assert absent <= kinds


def test_a_picture_is_a_function_of_scene_and_number(sprites):
    scene = Scene("cat", "crown", "beach", "red", 1, "middle")
    once, again, otherwise = (draw(scene, index, sprites, 32) for index in (4, 4, 5))
    assert once.shape == (3, 32, 32)
    assert once.dtype == np.uint8
    assert np.array_equal(once, again)
    assert not np.array_equal(once, otherwise)


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "dog"}, {"accessory": "guitar"}, {"place": "forest"}, {"colour": "blue"},
        {"count": 2, "position": None}, {"position": "left"}, {"sign": "hi"},
        {"accessory": None, "colour": None},
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [32, 128])
def test_every_attribute_is_to_be_seen(sprites, changed, size):
    scene = Scene("cat", "crown", "beach", "red", 1, "right")
    apart = np.abs(draw(scene, 0, sprites, size).astype(int) - draw(replace(scene, **changed), 0, sprites, size))
    assert (apart.max(0) > 32).mean() > 0.01


def test_every_scene_can_be_drawn(sprites):
    for size, index in product((32, 45), range(25)):
        assert draw(scene_of(index, 2, "pair"), index, sprites, size).shape == (3, size, size)
    for accessory, count in product(ACCESSORIES, COUNTS):
        draw(Scene("zebra", accessory, "sea", "pink", count, None, "stop"), 0, sprites, 64)


def test_rows_are_pure_in_their_number(sprites):
    scenes = Scenes(sprites, 32, seed=4, part="triple")
    pixels, caption, scene = scenes.row(12)
    assert scene == scenes.scene(12) == scene_of(12, 4, "triple")
    again = Scenes(sprites, 32, seed=4, part="triple").row(12)
    assert np.array_equal(pixels, again[0])
    assert caption == again[1]


def test_a_set_that_lacks_an_emoji_is_refused(tmp_path):
    folder = draw_set(tmp_path / "emoji")
    (folder / f"{SUBJECTS['cat'].code}.png").unlink()
    (folder / f"{ACCESSORIES['crown'].code}.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"lacks 2 of the emoji .* first 'cat'.*emoji-datasource-google"):
        sprites_of(fetch(str(folder)))


def test_variation_selectors_in_names_of_files_are_passed_over(tmp_path, sprites):
    folder = draw_set(tmp_path / "emoji")
    heart = folder / f"{ACCESSORIES['heart'].code}.png"
    heart.rename(heart.with_name("2764-FE0F.png"))
    assert sprites_of(fetch(str(folder))).hash == sprites.hash

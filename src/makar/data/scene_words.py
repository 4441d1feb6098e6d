"""What is said of scenes: captions in several phrasings that leave some things out."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from makar.core.random import numpy_rng
from makar.data.scene_things import ACCESSORIES, COLOURS, COUNTS, PLACES, POSITIONS, SUBJECTS, Scene

UNSAID = {"place": 0.1, "accessory": 0.1, "colour": 0.4, "position": 0.5}
"""How often a caption leaves an attribute out."""

PHRASINGS = (
    "{who} {doing} {where} {which}",
    "{who} {doing} {where} {which}",
    "{who} {where} {which} {doing}",
    "a picture of {who} {doing} {where} {which}",
    "{who} {with_} {where} {which}",
    "{where_} {who} {doing} {which}",
)
"""The orders that captions have; the plainest is the most frequent."""


def article(words: str) -> str:
    """Words after "a" or "an"."""
    return f"{'an' if words[0] in 'aeiou' and not words.startswith('uni') else 'a'} {words}"


def who(scene: Scene) -> str:
    """The subject, and how many."""
    subject = SUBJECTS[scene.subject]
    return article(subject.name) if scene.count == 1 else f"{COUNTS[scene.count]} {subject.plural}"


def what(scene: Scene) -> str:
    """What is worn or held, in its colour if that is known; empty for nothing."""
    if scene.accessory is None:
        return ""
    thing = ACCESSORIES[scene.accessory]
    several = scene.count > 1 or not thing.many
    named = (thing.many or thing.name) if several else thing.name
    coloured = f"{scene.colour} {named}" if scene.colour else named
    return coloured if several else article(coloured)


def tell(scene: Scene, phrasing: str = PHRASINGS[0]) -> str:
    """A scene in words: everything that is not None.

    Args:
        scene: What is to be said; `place` may be empty for one that is left unsaid.
        phrasing: One of `PHRASINGS`.
    """
    doing = with_ = ""
    if scene.accessory is not None:
        doing, with_ = f"{ACCESSORIES[scene.accessory].verb} {what(scene)}", f"with {what(scene)}"
    where = PLACES[scene.place] if scene.place else ""
    which = POSITIONS[scene.position] if scene.position else ""
    said = phrasing.format(
        who=who(scene), doing=doing, with_=with_, where=where, where_=where and f"{where},", which=which
    )
    sign = f" and the word {scene.sign}" if scene.sign else ""
    return " ".join(said.split()) + sign


def heard(caption: str) -> Scene | None:
    """What a caption asks for, whatever its phrasing: `tell` the other way round. None if it names no subject."""
    plain = caption.lower().partition(" and the word ")[0].replace(",", " ")
    words = f" {' '.join(plain.split())} "
    counts = {word: count for count, word in COUNTS.items() if count > 1}
    found = [
        (name, counts.get(count or "", 1))
        for name, subject in SUBJECTS.items()
        for count in (None, *counts)
        if (f" {article(subject.name)} " if count is None else f" {count} {subject.plural} ") in words
    ]
    if not found:
        return None
    subject, count = found[0]
    accessory = next((n for n, t in ACCESSORIES.items() if any(f" {w} " in words for w in (t.name, t.many) if w)), None)
    colour = None
    if accessory is not None:
        thing = ACCESSORIES[accessory]
        names = [each for each in (thing.name, thing.many) if each]
        colour = next((c for c in COLOURS if any(f" {c} {each} " in words for each in names)), None)
    place = next((name for name, said in PLACES.items() if f" {said} " in words), "")
    position = next((name for name, said in POSITIONS.items() if f" {said} " in words), None)
    return Scene(subject, accessory, place, colour, count, position)


def unsaid(scene: Scene, index: int, form: int, told: Collection[str] = ()) -> Scene:
    """A scene less what a caption leaves unsaid; a colour goes with what has it, and what has it with a colour."""
    pick = dict(zip(UNSAID, numpy_rng("unsaid", index, form).random(len(UNSAID)), strict=True))
    left = {name: pick[name] < share and name not in told for name, share in UNSAID.items()}
    left["accessory"] &= "colour" not in told
    return replace(
        scene,
        place="" if left["place"] else scene.place,
        accessory=None if left["accessory"] else scene.accessory,
        colour=None if left["colour"] or left["accessory"] else scene.colour,
        position=None if left["position"] else scene.position,
    )


def captions_of(scene: Scene, index: int) -> list[str]:
    """Several captions of a picture, each in another phrasing.

    Args:
        scene: What the picture shows.
        index: Of the picture: what is left unsaid, and in which order the phrasings come.
    """
    order = numpy_rng("phrasing", index).permutation(len(PHRASINGS))
    return [tell(unsaid(scene, index, int(form)), PHRASINGS[form]) for form in order]


def caption_of(scene: Scene, index: int, told: Collection[str] = ()) -> str:
    """The first of a picture's captions.

    Args:
        scene: What the picture shows.
        index: Of the picture.
        told: Attributes that are not left unsaid.
    """
    form = int(numpy_rng("phrasing", index).permutation(len(PHRASINGS))[0])
    return tell(unsaid(scene, index, form, told), PHRASINGS[form])


def other(name: str | None, names: Sequence[str], pick: float) -> str:
    """Another of some names."""
    rest = [each for each in names if each != name]
    return rest[int(pick * len(rest))]

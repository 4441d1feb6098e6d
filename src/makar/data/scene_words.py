"""What is said of scenes: captions in several phrasings that leave some out, and questions with exact answers."""

from dataclasses import replace

from makar.core.random import numpy_rng
from makar.data.scene_things import ACCESSORIES, COUNTS, PLACES, POSITIONS, SUBJECTS, Scene

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


def unsaid(scene: Scene, index: int, form: int) -> Scene:
    """A scene less what a caption leaves unsaid; a colour goes with what has it."""
    pick = dict(zip(UNSAID, numpy_rng("unsaid", index, form).random(len(UNSAID)), strict=True))
    left = {name: pick[name] < share for name, share in UNSAID.items()}
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


def caption_of(scene: Scene, index: int) -> str:
    """The first of a picture's captions."""
    form = int(numpy_rng("phrasing", index).permutation(len(PHRASINGS))[0])
    return tell(unsaid(scene, index, form), PHRASINGS[form])


def questions_of(scene: Scene, index: int) -> list[tuple[str, str, str]]:
    """Questions about a picture, their exact answers, and their kinds.

    Args:
        scene: What the picture shows.
        index: Of the picture: which absent things are asked after.

    Returns:
        (question, answer, kind), of kinds "what", "count", "wearing", "colour", "where", "position", "there" (answered
        yes), "absent" (answered no), "read" and "caption".
    """
    rng = numpy_rng("questions", index)
    many, name = scene.count > 1, SUBJECTS[scene.subject].name
    subjects = SUBJECTS[scene.subject].plural if many else name
    is_ = "are" if many else "is"
    whole = replace(scene, sign=None)
    found = [
        ("what is in the picture?", who(scene), "what"),
        (f"how many {SUBJECTS[scene.subject].plural} are there?", COUNTS[scene.count], "count"),
        (f"where {is_} the {subjects}?", PLACES[scene.place], "where"),
        ("describe the picture.", tell(whole), "caption"),
        (f"is there {article(name)}?", "yes", "there"),
        (f"is there {article(other(scene.subject, tuple(SUBJECTS), rng.random()))}?", "no", "absent"),
        (f"is this {PLACES[scene.place]}?", "yes", "there"),
        (f"is this {PLACES[other(scene.place, tuple(PLACES), rng.random())]}?", "no", "absent"),
    ]
    absent = Scene(
        scene.subject, other(scene.accessory, tuple(ACCESSORIES), rng.random()), scene.place, None, scene.count
    )
    asked = f"{is_} the {subjects} {{}}?"
    found.append((asked.format(f"{ACCESSORIES[str(absent.accessory)].verb} {what(absent)}"), "no", "absent"))
    if scene.accessory is not None:
        thing = ACCESSORIES[scene.accessory]
        plain = what(replace(scene, colour=None))
        found += [
            (asked.format(f"{thing.verb} {plain}"), "yes", "there"),
            (f"what {is_} the {subjects} {thing.verb}?", what(scene), "wearing"),
            (
                f"which colour {is_ if many or thing.many else 'are'} the {plural_of(scene)}?",
                str(scene.colour),
                "colour",
            ),
        ]
    if scene.position is not None:
        found.append((f"on which side is the {name}?", POSITIONS[scene.position], "position"))
    found.append(("is there a sign?", "yes" if scene.sign else "no", "there" if scene.sign else "absent"))
    if scene.sign is not None:
        found.append(("what does the sign say?", scene.sign, "read"))
    return found


def plural_of(scene: Scene) -> str:
    """What is worn or held, as many as there are, without colour or article."""
    assert scene.accessory is not None
    thing = ACCESSORIES[scene.accessory]
    return thing.many if scene.count > 1 and thing.many else thing.name


def other(name: str | None, names: tuple[str, ...], pick: float) -> str:
    """Another of some names."""
    rest = [each for each in names if each != name]
    return rest[int(pick * len(rest))]

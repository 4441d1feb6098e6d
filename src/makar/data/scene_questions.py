"""Questions about scenes, with their exact answers."""

from dataclasses import replace

from makar.core.random import numpy_rng
from makar.data.scene_things import ACCESSORIES, COUNTS, PLACES, POSITIONS, SUBJECTS, Scene
from makar.data.scene_words import article, other, tell, what, who
from makar.data.scenes import out


def questions_of(scene: Scene, index: int) -> list[tuple[str, str, str]]:
    """Questions about a picture, their exact answers, and their kinds.

    Args:
        scene: What the picture shows.
        index: Of the picture: which absent things are asked after. No place or accessory is among them that never
            stands beside what the picture shows in training, for "no" would then always be right there.

    Returns:
        (question, answer, kind), of kinds "what", "count", "wearing", "colour", "where", "position", "there" (answered
        yes), "absent_subject", "absent_place", "absent_accessory", "absent_sign" (answered no), "read" and "caption".
    """
    rng = numpy_rng("questions", index)
    many, name = scene.count > 1, SUBJECTS[scene.subject].name
    subjects = SUBJECTS[scene.subject].plural if many else name
    is_ = "are" if many else "is"
    whole = replace(scene, sign=None)
    places = [place for place in PLACES if met((scene.subject, place), (scene.accessory, place))]
    accessories = [thing for thing in ACCESSORIES if met((scene.subject, thing), (thing, scene.place))]
    found = [
        ("what is in the picture?", who(scene), "what"),
        (f"how many {SUBJECTS[scene.subject].plural} are there?", COUNTS[scene.count], "count"),
        (f"where {is_} the {subjects}?", PLACES[scene.place], "where"),
        ("describe the picture.", tell(whole), "caption"),
        (f"is there {article(name)}?", "yes", "there"),
        (f"is there {article(other(scene.subject, tuple(SUBJECTS), rng.random()))}?", "no", "absent_subject"),
        (f"is this {PLACES[scene.place]}?", "yes", "there"),
        (f"is this {PLACES[other(scene.place, places, rng.random())]}?", "no", "absent_place"),
    ]
    absent = Scene(scene.subject, other(scene.accessory, accessories, rng.random()), scene.place, None, scene.count)
    asked = f"{is_} the {subjects} {{}}?"
    found.append((asked.format(f"{ACCESSORIES[str(absent.accessory)].verb} {what(absent)}"), "no", "absent_accessory"))
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
    found.append(("is there a sign?", "yes" if scene.sign else "no", "there" if scene.sign else "absent_sign"))
    if scene.sign is not None:
        found.append(("what does the sign say?", scene.sign, "read"))
    return found


def met(*pairs: tuple[str | None, str]) -> bool:
    """Whether the training shows all of some pairs; one without an accessory is none."""
    return not any(out(*pair) for pair in pairs if None not in pair)


def plural_of(scene: Scene) -> str:
    """What is worn or held, as many as there are, without colour or article."""
    assert scene.accessory is not None
    thing = ACCESSORIES[scene.accessory]
    return thing.many if scene.count > 1 and thing.many else thing.name

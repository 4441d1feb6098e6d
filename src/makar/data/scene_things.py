"""What scenes are made of: who is in them, what they wear or hold and in which colour, and where they are.

Things are emoji, named by their code points as files of emoji sets are: any set that draws these will do.
"""

from dataclasses import dataclass
from typing import Literal

Hold = Literal["eyes", "top", "ears", "hand"]
"""Where a thing is worn, or that it is held."""


@dataclass(frozen=True)
class Subject:
    """Who is in a scene.

    Args:
        name: In words.
        code: The emoji's code points.
        eyes: Height of the eyes, as a share of the picture from its upper edge.
        top: Where a hat sits, likewise.
        middle: Of the face from the left edge, likewise.
        many: The plural.
    """

    name: str
    code: str
    eyes: float
    top: float
    middle: float = 0.5
    many: str = ""

    @property
    def plural(self) -> str:
        """The word for several."""
        return self.many or f"{self.name}s"


@dataclass(frozen=True)
class Accessory:
    """What is worn or held.

    Args:
        name: In words.
        code: The emoji's code points.
        hold: Where.
        width: As a share of the subject's.
        many: The plural, for what is one thing; empty for what is a plural already.
    """

    name: str
    code: str
    hold: Hold
    width: float
    many: str = ""

    @property
    def verb(self) -> str:
        """What a subject does with it."""
        return "holding" if self.hold == "hand" else "wearing"


SUBJECTS = {
    one.name: one
    for one in (
        Subject("cat", "1f431", 0.50, 0.20),
        Subject("dog", "1f436", 0.42, 0.08),
        Subject("mouse", "1f42d", 0.52, 0.28, many="mice"),
        Subject("hamster", "1f439", 0.48, 0.08),
        Subject("rabbit", "1f430", 0.58, 0.42),
        Subject("fox", "1f98a", 0.52, 0.22, many="foxes"),
        Subject("bear", "1f43b", 0.42, 0.10),
        Subject("panda", "1f43c", 0.50, 0.10),
        Subject("koala", "1f428", 0.45, 0.18),
        Subject("tiger", "1f42f", 0.45, 0.06),
        Subject("lion", "1f981", 0.45, 0.08),
        Subject("cow", "1f42e", 0.42, 0.10),
        Subject("pig", "1f437", 0.42, 0.08),
        Subject("frog", "1f438", 0.26, 0.14),
        Subject("monkey", "1f435", 0.42, 0.10),
        Subject("chicken", "1f414", 0.42, 0.14, 0.45),
        Subject("penguin", "1f427", 0.22, 0.04),
        Subject("wolf", "1f43a", 0.50, 0.18, many="wolves"),
        Subject("horse", "1f434", 0.35, 0.14, 0.46),
        Subject("unicorn", "1f984", 0.48, 0.26, 0.42),
        Subject("dragon", "1f432", 0.38, 0.16, 0.48),
        Subject("raccoon", "1f99d", 0.52, 0.16),
        Subject("zebra", "1f993", 0.45, 0.14, 0.46),
        Subject("owl", "1f989", 0.32, 0.06),
        Subject("chick", "1f425", 0.30, 0.05),
        Subject("octopus", "1f419", 0.48, 0.06, many="octopuses"),
        Subject("hedgehog", "1f994", 0.55, 0.18, 0.42),
        Subject("turtle", "1f422", 0.42, 0.18),
        Subject("robot", "1f916", 0.52, 0.22),
        Subject("alien", "1f47d", 0.55, 0.06),
        Subject("ghost", "1f47b", 0.32, 0.05),
        Subject("skull", "1f480", 0.50, 0.08),
        Subject("pumpkin", "1f383", 0.48, 0.18),
        Subject("clown", "1f921", 0.42, 0.06),
        Subject("snowman", "26c4", 0.36, 0.10, many="snowmen"),
        Subject("devil", "1f47f", 0.52, 0.14),
        Subject("ogre", "1f479", 0.45, 0.16),
        Subject("baby", "1f476", 0.50, 0.08, many="babies"),
        Subject("girl", "1f467", 0.50, 0.06),
        Subject("grandmother", "1f475", 0.52, 0.12),
        Subject("santa", "1f385", 0.45, 0.18),
        Subject("smiley", "1f603", 0.36, 0.05),
        Subject("apple", "1f34e", 0.50, 0.22),
        Subject("lemon", "1f34b", 0.50, 0.12),
        Subject("strawberry", "1f353", 0.50, 0.14, many="strawberries"),
        Subject("mushroom", "1f344", 0.42, 0.08),
        Subject("star", "2b50", 0.48, 0.16),
        Subject("doughnut", "1f369", 0.45, 0.14),
    )
}
"""Who can be in a scene, by name."""

ACCESSORIES = {
    one.name: one
    for one in (
        Accessory("sunglasses", "1f576", "eyes", 0.72),
        Accessory("top hat", "1f3a9", "top", 0.64, "top hats"),
        Accessory("crown", "1f451", "top", 0.62, "crowns"),
        Accessory("cap", "1f9e2", "top", 0.72, "caps"),
        Accessory("bow", "1f380", "top", 0.66, "bows"),
        Accessory("headphones", "1f3a7", "ears", 1.16),
        Accessory("balloon", "1f388", "hand", 0.58, "balloons"),
        Accessory("umbrella", "2602", "hand", 0.78, "umbrellas"),
        Accessory("guitar", "1f3b8", "hand", 0.68, "guitars"),
        Accessory("heart", "2764", "hand", 0.52, "hearts"),
    )
}
"""What can be worn or held, by name."""

PLACES = {
    "space": "in space",
    "beach": "on the beach",
    "forest": "in the forest",
    "desert": "in the desert",
    "snow": "in the snow",
    "city": "in the city",
    "sea": "under the sea",
    "room": "in a room",
}
"""Where a scene can be, and how that is said."""

COLOURS = {
    "red": (226, 32, 40),
    "yellow": (252, 208, 24),
    "green": (36, 168, 56),
    "blue": (36, 92, 232),
    "pink": (255, 112, 192),
    "black": (36, 36, 40),
}
"""The colours of what is worn or held, as sRGB."""

POSITIONS = {"left": "on the left", "middle": "in the middle", "right": "on the right"}
"""Where a single subject stands, and how that is said."""

COUNTS = {1: "one", 2: "two", 3: "three"}
"""How many of a subject there are, in words."""

SIGNS = ("hi", "yes", "no", "go", "stop", "hey", "ok", "fun", "top", "hot", "ice", "sea", "sun", "star", "open", "joy")
"""What can be written on a sign in a scene."""


@dataclass(frozen=True)
class Scene:
    """What a picture shows, by names.

    Args:
        subject: One of `SUBJECTS`.
        accessory: One of `ACCESSORIES`, worn or held by each; None for nothing.
        place: One of `PLACES`.
        colour: One of `COLOURS`: of the accessory; None without one.
        count: Subjects, 1 to 3.
        position: One of `POSITIONS`; None of several subjects.
        sign: One of `SIGNS`, written large; None for no sign.
    """

    subject: str
    accessory: str | None
    place: str
    colour: str | None
    count: int = 1
    position: str | None = None
    sign: str | None = None


ATTRIBUTES = ("subject", "accessory", "place", "colour", "count", "position")
"""The fields of a scene that a picture is judged by."""

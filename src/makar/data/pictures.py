"""One picture, decoded without trusting it: bounded in pixels and time, upright, opaque, sRGB, of the size asked for.

What comes out is of mode L (one channel) or RGB, eight bits. Formats are those of `FORMATS`; nothing else is tried.
"""

import importlib.util
import io
import struct
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import UInt8

from makar.core.errors import UserError
from makar.data.config import PictureOptions
from makar.data.document import Fault
from makar.data.shapes import Shape

if TYPE_CHECKING:
    from PIL.Image import Image

Made = TypeVar("Made")

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
MAX_BYTES, MAX_PIXELS, SECONDS = 256 << 20, 1 << 26, 20.0
"""The largest file, the most pixels (8192 x 8192), and how long one picture may take to decode."""

DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, AttributeError, RuntimeError,
    MemoryError, struct.error,
)  # fmt: skip
"""What Pillow raises over bytes that it does not expect."""


@dataclass(frozen=True)
class Still:
    """One picture as it is stored.

    Args:
        image: Of mode L or RGB.
        changed: Whether it looks, or is stored, otherwise than its file said.
        said: What its file says that it shows.
    """

    image: "Image"
    changed: bool
    said: str | None = None


class Unusable(Exception):
    """A picture that is whole and yet none that can be learned from: a reason, and what to do."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix


class Timed(io.BytesIO):
    """Bytes that cannot be read any more once the time is over: decoders ask for them piece by piece."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self.end = time.monotonic() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """What comes next.

        Raises:
            TimeoutError: The time is over.
        """
        if time.monotonic() > self.end:
            raise TimeoutError
        return super().read(size)


def decode(data: bytes, where: str, options: PictureOptions, shape: Shape | None = None) -> Still | Fault:
    """A file's bytes to a picture, or why there is none.

    Args:
        data: The file, in one of `FORMATS`.
        where: For messages.
        options: Size, fit, filter, background.
        shape: Height and width to bring it to, in place of a square of that size.
    """

    def make(image: "Image") -> Still:
        plain, changed = standard(image, options.background)
        fitted = fit(plain, options, shape)
        return Still(fitted, changed or fitted is not plain, said_in(image))

    return opened(data, where, make)


LONGEST = 400
"""Characters that a picture's own title and description are cut to."""


def said_in(image: "Image") -> str | None:
    """The title and the description that a PNG file may hold, as clip art does."""
    held: dict[str, object] = getattr(image, "text", {})
    parts = [" ".join(str(held.get(name, "")).replace("_", " ").split()) for name in ("Title", "Description")]
    title, description = parts
    repeated = description.lower().startswith(title.lower().rstrip("."))
    both = [description] if repeated else [title, description]
    return ". ".join(part.rstrip(".") for part in both if part)[:LONGEST] or None


def with_keywords(said: str | None, keywords: Sequence[str]) -> str | None:
    """What a picture says of itself, with the names of its folders that it does not say; of nothing they say nothing.

    Folders of photographs are named after days and journeys, which are no captions: only a titled picture has keywords.
    """
    if said is None:
        return None
    words = [keyword.replace("_", " ").lower() for keyword in keywords if not keyword.isdigit()]
    return ", ".join([said, *(each for each in dict.fromkeys(words) if each not in said.lower())])


def opened(data: bytes, where: str, make: Callable[["Image"], Made]) -> Made | Fault:
    """What is made of a file's picture, or why nothing is: the one place where files are decoded.

    Args:
        data: The file, in one of `FORMATS`.
        where: For messages.
        make: Takes the picture, checked and loaded; it may raise what is in `DAMAGE`, or `Unusable`.
    """
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
        try:
            with Image.open(Timed(data, SECONDS), formats=FORMATS) as image:
                check(image)
                image.load()
                return make(image)
        except Unusable as fault:
            reason, fix = fault.reason, fault.fix
        except Image.DecompressionBombError:
            reason, fix = "too many pixels", f"make it smaller than {MAX_PIXELS:,} pixels"
        except TimeoutError:
            reason, fix = f"takes more than {SECONDS:.0f} s to decode", "leave it out"
        except UnidentifiedImageError:
            reason, fix = "not a picture of a known format", f"give {', '.join(FORMATS)}"
        except DAMAGE:
            reason, fix = "truncated or damaged picture", "copy or download it again"
    return Fault(reason, where, len(data), fix)


def check(image: "Image") -> None:
    """Refuse from the header alone what must not be decoded.

    Raises:
        Unusable: It has too many pixels, or several frames.
    """
    if image.width * image.height > MAX_PIXELS:
        raise Unusable("too many pixels", f"make it smaller than {MAX_PIXELS:,} pixels")
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a camera's file with a second view inside
        raise Unusable("animated, or of several pages", "give one frame as a file of its own")


def standard(image: "Image", background: str) -> tuple["Image", bool]:
    """Upright, eight bits, sRGB, opaque; and whether anything of that had to be done.

    Args:
        image: Loaded.
        background: The colour behind transparent parts.
    """
    from PIL import ExifTags, Image, ImageOps

    start, turned = image.mode, image.getexif().get(ExifTags.Base.Orientation, 1) != 1
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        wide = np.asarray(image).astype(np.uint32)
        profile, size = image.info.get("icc_profile"), image.size
        image = Image.frombytes("L", size, ((wide + 128) // 257).astype(np.uint8).tobytes())
        image.info["icc_profile"] = profile
    if image.mode in ("I", "F"):
        raise Unusable("more than 16 bits a channel", "convert it to 8 or 16 bits")
    profile = image.info.get("icc_profile")
    gray = image.mode in ("1", "L", "LA", "La")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if gray else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if gray else "RGB")
    elif image.mode != "CMYK":  # whose profile must see its own four channels
        image = image.convert("L" if gray else "RGB")
    if profile:
        image = to_srgb(image, profile)
    image = image.convert("L" if gray else "RGB")
    if alpha is not None:
        image = over(image, alpha, background)
    return image, turned or bool(profile) or alpha is not None or start not in ("L", "RGB")


def to_srgb(image: "Image", profile: bytes) -> "Image":
    """A picture's colours as sRGB; those of a profile that cannot be read are taken for sRGB, as browsers do."""
    from PIL import ImageCms

    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(found).lower():
            return image
        changed = ImageCms.profileToProfile(image, found, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return changed or image


def over(image: "Image", alpha: "Image", background: str) -> "Image":
    """A picture on a coloured ground; a gray one on a gray ground stays gray."""
    from PIL import Image, ImageColor

    colour = ImageColor.getrgb(background)[:3]
    if image.mode == "L" and len(set(colour)) > 1:
        image = image.convert("RGB")
    ground = Image.new(image.mode, image.size, colour[0] if image.mode == "L" else colour)
    return Image.composite(image, ground, alpha)


def fit(image: "Image", options: PictureOptions, shape: Shape | None = None) -> "Image":
    """A picture brought into the square, or the shape, that was asked for; itself if it has that size, or none was.

    Raises:
        Unusable: It is smaller than what it would be cut to: to enlarge would teach blur.
    """
    from PIL import Image, ImageColor

    if shape is None:
        if options.size is None:
            return image
        shape = options.size, options.size
    high, wide = shape
    if image.size == (wide, high):
        return image
    resample = Image.Resampling[options.filter.upper()]
    width, height = image.size
    if options.fit == "crop":
        if height < high or width < wide:
            size = high if high == wide else f"{wide}x{high}"
            raise Unusable(f"smaller than {size} pixels", "choose a smaller size, or fit='pad'")
        across, down = min(width, rounded(height * wide, high)), min(height, rounded(width * high, wide))
        left, top = (width - across) // 2, (height - down) // 2
        return image.crop((left, top, left + across, top + down)).resize((wide, high), resample)
    scale = min(1.0, wide / width, high / height)
    small = image.resize((max(1, round(width * scale)), max(1, round(height * scale))), resample)
    colour = ImageColor.getrgb(options.background)[:3]
    if small.mode == "L" and len(set(colour)) > 1:
        small = small.convert("RGB")
    canvas = Image.new(small.mode, (wide, high), colour[0] if small.mode == "L" else colour)
    canvas.paste(small, ((wide - small.width) // 2, (high - small.height) // 2))
    return canvas


def rounded(number: int, divisor: int) -> int:
    """The whole number nearest to a quotient."""
    return (2 * number + divisor) // (2 * divisor)


def size_in(data: bytes) -> Shape | None:
    """Height and width of a dataset's picture, by its header alone; None where that cannot be read.

    Args:
        data: The file: upright, as `makar collect` stores it.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.height, image.width
    except (Image.DecompressionBombError, *DAMAGE):
        return None


def from_array(pixels: UInt8[np.ndarray, "height width ..."], where: str, options: PictureOptions) -> Still | Fault:
    """A picture that is an array already: gray, or with three channels behind."""
    from PIL import Image

    image = Image.fromarray(pixels)
    try:
        fitted = fit(image, options)
    except Unusable as fault:
        return Fault(fault.reason, where, pixels.nbytes, fault.fix)
    return Still(fitted, fitted is not image)


def to_png(image: "Image") -> bytes:
    """A picture as PNG, without any metadata."""
    memory = io.BytesIO()
    image.save(memory, "PNG")
    return memory.getvalue()


def need_pillow() -> None:
    """Say how to install what reads pictures, if it is not there.

    Raises:
        UserError: Pillow is not installed.
    """
    if importlib.util.find_spec("PIL") is None:
        raise UserError("Pillow is not installed", fix="pip install 'makar[images]'")

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from makar.data import pictures as module
from makar.data.config import PictureOptions
from makar.data.document import Fault
from makar.data.pictures import Still, Timed, decode, from_array, to_png
from tests.data.drawn import file_of, noise

AS_IT_IS = PictureOptions()


def shown(data, options=AS_IT_IS):
    """The picture that a file's bytes are decoded to."""
    still = decode(data, "here", options)
    assert isinstance(still, Still), still
    assert still.image.mode in ("L", "RGB")
    return still.image


def reason(data, options=AS_IT_IS):
    """Why a file's bytes are not decoded."""
    fault = decode(data, "here", options)
    assert isinstance(fault, Fault), fault
    assert fault.fix
    assert fault.where == "here"
    return fault.reason


def test_a_plain_picture_comes_back_to_the_bit():
    for mode in ("L", "RGB"):
        image = noise(1, mode=mode)
        still = decode(file_of(image), "here", AS_IT_IS)
        assert not still.changed
        assert still.image.tobytes() == image.tobytes()
        assert shown(to_png(still.image)).tobytes() == image.tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_every_format_is_read(kind):
    assert shown(file_of(noise(1), kind)).size == (40, 40)


def test_a_truncated_picture_is_a_fault_wherever_it_is_cut():
    image = noise(2, side=12)
    whole = file_of(image)
    for cut in range(0, len(whole), 3):
        found = decode(whole[:cut], "here", AS_IT_IS)
        if isinstance(found, Still):
            assert cut > len(whole) - 24, "only checksums are missing"
            assert found.image.tobytes() == image.tobytes()
        else:
            assert found.reason in ("truncated or damaged picture", "not a picture of a known format")


def test_a_flipped_byte_is_a_fault_or_does_no_harm():
    rng = np.random.default_rng(0)
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        whole = bytearray(file_of(noise(3, side=16), kind))
        for place in rng.integers(0, len(whole), 40).tolist():
            broken = bytes(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
            assert isinstance(decode(broken, "here", PictureOptions(size=8)), Still | Fault)


def vast(side):
    """A PNG that says it is as large as this, and is some hundred bytes long."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 50_000])
def test_a_decompression_bomb_is_refused_by_its_header(side):
    assert reason(vast(side)) == "too many pixels"


def test_a_picture_that_takes_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", -1.0)
    assert "to decode" in reason(file_of(noise(1)))
    with pytest.raises(TimeoutError):
        Timed(b"abc", -1.0).read()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_no_still(kind):
    frames = [noise(seed) for seed in range(3)]
    assert "animated" in reason(file_of(frames[0], kind, save_all=True, append_images=frames[1:]))


def test_what_is_no_picture_is_said_to_be_none():
    for data in (b"", b"a poem about the moon", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        assert reason(data) == "not a picture of a known format"


def test_cmyk_becomes_rgb():
    red = shown(file_of(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "JPEG", quality=100)).getpixel((4, 4))
    assert np.abs(np.array(red) - (255, 0, 0)).max() <= 2


def test_sixteen_bits_become_the_nearest_of_eight():
    values = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    values[0, 0], values[0, 1] = 128, 257 + 129
    image = shown(file_of(Image.fromarray(values)))
    assert image.mode == "L"
    assert np.asarray(image).reshape(-1).tolist() == [0, 2, *range(2, 256)]


def test_more_than_sixteen_bits_are_refused():
    assert reason(file_of(Image.fromarray(np.ones((9, 9), np.float32)), "TIFF")) == "more than 16 bits a channel"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_obeyed(orientation):
    upright = noise(4).resize((24, 16))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # which transposition of Pillow's stores it so
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    still = decode(file_of(stored, exif=exif), "here", AS_IT_IS)
    assert still.image.tobytes() == upright.tobytes()
    assert still.changed == (orientation != 1)


@pytest.mark.parametrize(("background", "colour"), [("white", 255), ("black", 0), ("#ff8000", (255, 128, 0))])
def test_what_is_transparent_shows_the_background(background, colour):
    image = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    image.paste((10, 20, 30, 255), (0, 0, 4, 8))
    image.putpixel((7, 7), (0, 0, 0, 128))
    found = shown(file_of(image), PictureOptions(background=background))
    wanted = colour if isinstance(colour, tuple) else (colour,) * 3
    assert found.getpixel((5, 5)) == wanted
    assert found.getpixel((0, 0)) == (10, 20, 30)
    assert np.abs(np.array(found.getpixel((7, 7))) - np.array(wanted) * 127 / 255).max() <= 1


def test_a_gray_picture_stays_gray_on_a_gray_ground_and_a_palette_may_be_transparent():
    gray = Image.new("LA", (4, 4), (9, 0))
    assert shown(file_of(gray)).mode == "L"
    assert shown(file_of(gray), PictureOptions(background="#102030")).getpixel((0, 0)) == (16, 32, 48)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([7, 8, 9, 1, 2, 3])
    palette.putpixel((1, 1), 1)
    found = shown(file_of(palette, transparency=0))
    assert (found.getpixel((0, 0)), found.getpixel((1, 1))) == ((255, 255, 255), (1, 2, 3))


def test_colours_of_another_profile_become_srgb():
    linear = ImageCms.createProfile("XYZ")
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = noise(5)
    assert shown(file_of(image, icc_profile=lab)).tobytes() == image.tobytes(), "sRGB is left as it is"
    other = ImageCms.ImageCmsProfile(linear).tobytes()
    assert shown(file_of(image, icc_profile=other)).size == image.size, "a profile that cannot be used is sRGB"
    assert shown(file_of(image, icc_profile=b"no profile")).tobytes() == image.tobytes()


def test_a_profile_is_applied():
    swapped = swapped_profile()
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    found = np.array(shown(file_of(red, icc_profile=swapped)).getpixel((0, 0)))
    assert found[1] > found[0], "in this profile the first channel is green"


def swapped_profile():
    """The sRGB profile with the primaries of red and green exchanged, and without its name."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    places = {bytes(data[132 + 12 * n : 136 + 12 * n]): 132 + 12 * n for n in range(count)}
    data[places[b"rXYZ"] : places[b"rXYZ"] + 4], data[places[b"gXYZ"] : places[b"gXYZ"] + 4] = b"gXYZ", b"rXYZ"
    start, size = struct.unpack(">II", data[places[b"desc"] + 4 : places[b"desc"] + 12])
    data[start + 8 : start + size] = bytes(data[start + 8 : start + size]).replace(b"R", b"X")
    return bytes(data)


def test_cut_and_resized_with_the_named_filter():
    image = noise(6, side=60).resize((60, 44))
    for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
        found = shown(file_of(image), PictureOptions(size=16, filter=name))
        wanted = image.crop((8, 0, 52, 44)).resize((16, 16), Image.Resampling[name.upper()])
        assert found.tobytes() == wanted.tobytes()


def test_what_is_smaller_than_the_cut_is_refused_and_padded_if_asked():
    small = Image.new("RGB", (6, 10), (1, 2, 3))
    assert reason(file_of(small), PictureOptions(size=16)) == "smaller than 16 pixels"
    padded = shown(file_of(small), PictureOptions(size=16, fit="pad", background="black"))
    assert padded.size == (16, 16)
    assert padded.getbbox() == (5, 3, 11, 13)
    wide = shown(file_of(Image.new("L", (64, 16), 9)), PictureOptions(size=16, fit="pad"))
    assert (wide.getpixel((8, 8)), wide.getpixel((8, 0))) == (9, 255)


def test_an_array_is_a_picture():
    pixels = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64).astype(np.uint8)
    assert np.array_equal(np.asarray(from_array(pixels, "here", AS_IT_IS).image), pixels)
    assert from_array(pixels, "here", PictureOptions(size=8)).image.size == (8, 8)
    assert from_array(pixels, "here", PictureOptions(size=128)).reason == "smaller than 128 pixels"
    assert Image.open(io.BytesIO(to_png(Image.fromarray(pixels)))).info == {}


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"Title": "Owl on Branch", "Description": "Owl on Branch."}, "Owl on Branch"),
        ({"Title": "bo_fish", "Description": "frontal fish"}, "bo fish. frontal fish"),
        ({"Description": " a\nhen. "}, "a hen"),
        ({"Title": "Tempus Fugit", "Author": "nobody", "Software": "a pencil"}, "Tempus Fugit"),
        ({"Software": "a pencil"}, None),
        ({"Title": " "}, None),
    ],
)
def test_a_picture_says_its_title_if_it_has_one(held, said):
    info = PngImagePlugin.PngInfo()
    for name, value in held.items():
        info.add_text(name, value)
    still = decode(file_of(noise(0), pnginfo=info), "here", AS_IT_IS)
    assert isinstance(still, Still)
    assert still.said == said
    assert decode(file_of(noise(0), "JPEG"), "here", AS_IT_IS).said is None

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from makar.data.dedup import Verdict
from makar.data.perceptual import find_alike, hashes, small_copies, tables
from tests.data.drawn import noise

imagehash = pytest.importorskip("imagehash")


def hash_of(*images):
    """The hashes of pictures."""
    return hashes(np.stack([small_copies(image)[0] for image in images]))


def test_the_hash_is_imagehashs():
    images = [noise(seed, side=20 + seed, mode="RGB" if seed % 2 else "L") for seed in range(40)]
    assert [int(str(imagehash.phash(image)), 16) for image in images] == hash_of(*images).tolist()


def test_plain_pictures_have_one_hash_and_no_noise():
    assert len(set(hash_of(*(Image.new("L", (30, 30), value) for value in (1, 77, 255))).tolist())) == 1


@pytest.mark.parametrize("near", [1, 2, 4, 8])
def test_hashes_that_differ_in_few_bits_share_a_key(near):
    rng = np.random.default_rng(near)
    left = rng.integers(0, 2**63, 400, dtype=np.uint64)
    right = left.copy()
    for row, bits in enumerate(rng.integers(0, near + 1, 400)):
        for bit in rng.choice(64, bits, replace=False):
            right[row] ^= np.uint64(1) << np.uint64(bit)
    shared = np.zeros(400, bool)
    for keys in tables(np.concatenate((left, right)), near):
        shared |= keys[:400] == keys[400:]
    assert shared.all()


def verdicts(images, tmp_path, test=(), out=(), near=4):
    """What becomes of pictures; their small copies lie in two files."""
    gray, small = zip(*(small_copies(image) for image in images), strict=True)
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    cut = len(images) // 2
    np.save(paths[0], np.stack(small[:cut]))
    np.save(paths[1], np.stack(small[cut:]))
    exact = np.array([hash((image.size, image.tobytes())) & (2**63 - 1) for image in images], np.uint64)
    rows = np.arange(len(images))
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    found = find_alike(
        exact, hashes(np.stack(gray)), paths, np.isin(rows, test), out=np.isin(rows, out), near=near, work=work
    )
    return [Verdict(verdict) for verdict in found]


def changed(image):
    """The same picture, a little brighter, resized and back."""
    return ImageEnhance.Brightness(image).enhance(1.01).resize((33, 33)).resize(image.size)


def test_repetitions_go_and_what_only_has_the_same_hash_stays(tmp_path):
    images = [noise(seed) for seed in range(20)]
    red, blue = (Image.merge("RGB", [noise(50, mode="L").point(lambda v, f=f: int(v * f)) for f in factors])
                 for factors in ((1, 0.2, 0.2), (0.2, 0.2, 1)))  # fmt: skip
    made = [*images, images[3].copy(), changed(images[5]), red, blue]
    found = verdicts(made, tmp_path)
    assert found[20:22] == [Verdict.SAME, Verdict.NEAR]
    assert found[:20] == [Verdict.KEEP] * 20
    assert found[22:] == [Verdict.KEEP] * 2
    assert np.bitwise_count(np.bitwise_xor(*hash_of(red, blue))) <= 4, "the hash sees no colour"
    assert verdicts(made, tmp_path, near=0)[20:22] == [Verdict.SAME, Verdict.KEEP]


def test_the_test_set_never_goes_and_what_is_out_decides_nothing(tmp_path):
    images = [noise(0), noise(0), noise(1), changed(noise(1)), noise(2), noise(2)]
    assert verdicts(images, tmp_path, test=(1, 3), out=(4,)) == [
        Verdict.SAME_AS_TEST, Verdict.KEEP, Verdict.NEAR_TEST, Verdict.KEEP, Verdict.KEEP, Verdict.KEEP,
    ]  # fmt: skip

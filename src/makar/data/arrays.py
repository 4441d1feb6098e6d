"""Pictures in NumPy's own format: an array of rows x height x width, or with three channels behind, without pickles."""

import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from makar.core.errors import InputError

LONGEST_SIDE = 1024


def read_npy(data: bytes, where: str) -> Iterator[UInt8[np.ndarray, "height width ..."]]:
    """The pictures of an array, one after the other.

    Args:
        data: The file; bytes are taken as they are, floats as shares of white.
        where: For messages.

    Raises:
        InputError: It is no array, or none of pictures.
    """
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError, MemoryError, TypeError) as fault:
        fix = "copy it again; arrays of objects are not read"
        raise InputError(f"not an array that can be read: {fault}", where=where, fix=fix) from None
    gray, colour = array.ndim == 3, array.ndim == 4 and array.shape[3] == 3
    if not (gray or colour) or not all(0 < side <= LONGEST_SIDE for side in array.shape[1:3]):
        fix = "give rows x height x width, or rows x height x width x 3"
        raise InputError("not an array of pictures", where=where, value=array.shape, fix=fix)
    if array.dtype == np.uint8:
        yield from array
        return
    if array.dtype.kind != "f" or not len(array) or not (np.min(array) >= 0 and np.max(array) <= 1):
        raise InputError("not the values of pictures", where=where, value=str(array.dtype), fix="give uint8, or 0 to 1")
    for picture in array:
        yield np.rint(picture.astype(np.float64) * 255).astype(np.uint8)

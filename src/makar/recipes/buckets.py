"""Which shapes of pictures a recipe's net can learn. Imports no torch."""

from makar.data.shapes import Shape, shapes_of
from makar.nets.mmdit_config import MMDiTConfig


def net_shapes(net: object, count: int) -> tuple[Shape, ...]:
    """The shapes of aspect-ratio buckets, in the net's places: sides are whole numbers of its patches.

    Args:
        net: The net's config, of any family; None for a family that has none.
        count: How many shapes.

    Raises:
        ValueError: The net makes squares alone, is too small for so many, or has no positions for one of them.
    """
    if not isinstance(net, MMDiTConfig):
        raise ValueError("leave data.buckets out: only a net of kind 'mmdit' learns pictures of several shapes")
    patch = net.patch_size
    shapes = shapes_of(net.sample_size // patch, count)
    longest = max(max(shape) for shape in shapes)
    if longest > net.pos_embed_max_size:
        raise ValueError(
            f"set model.net.pos_embed_max_size to {longest} or more: the longest side of {count} shapes has so many"
            f" patches, and the net has positions for {net.pos_embed_max_size}"
        )
    return tuple((high * patch, wide * patch) for high, wide in shapes)

"""Blocks that several families share: attention, rotary positions, the decoder and its cache."""

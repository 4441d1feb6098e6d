"""Autoencoders of pictures: what other families take for pictures made small."""

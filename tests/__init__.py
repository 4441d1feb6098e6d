"""A package of its own, so that nobody else's of this name is taken for it."""

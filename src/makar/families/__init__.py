"""The families of models: one folder each, and `table.py`, which lists them."""

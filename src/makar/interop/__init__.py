"""The bridge to what exists: models of other tools come in, models made here go out; no foreign file is trusted."""

"""What a model is worth: its text, its answers and what it prefers, each beside real held-out data and chance."""

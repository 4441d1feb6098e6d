"""What a model is worth: its text, answers, preferences and pictures, each beside real held-out data and chance."""

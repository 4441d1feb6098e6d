"""What a model's text is worth: likelihood, variety, copying and verse, each beside real held-out text."""

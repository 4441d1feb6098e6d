"""CLIP: two towers that bring pictures and what is said of them to one place."""

"""Preferences, rewards, rollouts: from a model that continues text to one that does what people ask."""

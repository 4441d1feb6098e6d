"""A model on disk and in memory: opens it, runs it, streams what it makes, lets guards see it. Knows no family."""

"""Sources to a clean, split dataset folder; token shards; rows for training."""

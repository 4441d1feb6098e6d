"""The one loop for every family: optimizers, schedules, precision, checkpoints, data parallelism. Knows no family."""

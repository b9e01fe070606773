"""One fit of a Lightning module: batches, checkpoints, resuming, progress."""

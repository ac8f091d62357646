"""The loop, its resumable state, early stopping, checkpoints, logging."""

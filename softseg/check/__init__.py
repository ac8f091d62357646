"""Checks of every file before training: what is wrong, what is unusual, what belongs together."""

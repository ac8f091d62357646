"""Scores of segmentations that any tool has written: softseg score."""

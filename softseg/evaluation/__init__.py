"""Evaluation of a trained run in the native space of each scan."""

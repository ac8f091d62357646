"""Loaders: how the files of a dataset become subjects."""

"""Loaders: how the files of a data set become subjects."""

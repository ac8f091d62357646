"""Slices to volumes to native space; the threshold search."""

"""Preprocessing, once for each volume: orient, standardize, resample, crop, cut into slices.

A volume's path: `build_store` loads it, `preprocess` turns it into slices (or the `cache` has
them), and `store` joins the slices of all subjects. `geometry` is the way there and its inverse.
"""

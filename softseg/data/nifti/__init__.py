"""NIfTI files: the only reader and writer, and the grid of a volume."""

"""Export of a package to a model that ivadomed's tools read."""

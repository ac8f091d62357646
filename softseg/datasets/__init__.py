"""Datasets that softseg makes (phantoms) or downloads."""

"""Data sets that softseg makes (phantoms) or downloads."""

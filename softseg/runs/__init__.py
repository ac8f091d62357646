"""A run's folder: its files, its lock, and what is needed to open or resume it."""

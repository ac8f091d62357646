"""Figures of a report: each function plots plain data into one PNG file, its `path`."""

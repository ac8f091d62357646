"""Shared basics: files, seeds, devices, memory, errors, names, components."""

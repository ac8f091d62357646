"""Figures of an ablation's report: each function takes plain data and writes one PNG."""

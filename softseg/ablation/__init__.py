"""Candidates x splits: the plan, carrying it out here or on a cluster, paired statistics."""

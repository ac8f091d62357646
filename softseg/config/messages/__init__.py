"""Error messages for an invalid configuration: where, what, and how to fix it."""

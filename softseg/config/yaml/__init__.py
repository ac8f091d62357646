"""YAML text to a tree that knows file and line of every key, and back."""

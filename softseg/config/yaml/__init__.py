"""Read YAML text as a tree that knows the file and line of every key, and write it."""

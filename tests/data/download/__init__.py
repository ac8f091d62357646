"""Downloads, from a server of the tests' own."""

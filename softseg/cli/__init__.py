"""The `softseg` command, one module per subcommand."""

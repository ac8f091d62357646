"""A trained run scored in the native space of each scan."""

"""A call's arguments to a checked, encoded request. No I/O."""

"""Typed, read-only looks at the dicts of the wire."""

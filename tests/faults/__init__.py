"""What can go wrong on the way to an answer, when, and what a caller then sees: ``table.py`` is to be read, the rest plays it."""

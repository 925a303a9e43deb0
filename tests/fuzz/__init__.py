"""Fuzzing of the wire: targets that check promises, and a corpus that is replayed with every run of the tests."""

"""Bytes to an answer: what is handed over, and how it ended. No I/O, nothing asynchronous; time is passed in."""

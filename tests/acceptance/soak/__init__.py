"""Thousands of streams at once, with every fault mixed in: each must end as its fault says, and nothing may leak."""

"""Thousands of streams at once, with every fault mixed in: nothing may leak, and each must end as its fault says."""

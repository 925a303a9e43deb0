"""A seeded simulation: sessions, retries, batches and relays against a scripted server, without sockets or wall clock.

`loop.py` is the event loop whose clock jumps, `script.py` what the server sends, `truth.py` what that says, `network.py` and
`incoming.py` how it arrives, `client.py` and `batch.py` what the callers do, `checks.py` the promises, `world.py` one run.
``python -m tests.simulation SEED`` replays one.
"""

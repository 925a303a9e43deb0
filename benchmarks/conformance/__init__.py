"""The scoreboard: what each client makes of the catalogue in ``tests/conformance``."""

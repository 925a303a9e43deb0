"""Requests out and bytes in: the only room of the core that imports aiohttp."""

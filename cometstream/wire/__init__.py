"""The sans-I/O core: bytes to typed objects and back. No async, no aiohttp, no clock."""

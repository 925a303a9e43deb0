"""The frameworks above OpenAI's client, each in an environment of its own, over our transport: see ``__main__``."""

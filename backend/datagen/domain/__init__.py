"""The domain model: plain typed values and pure functions. Imports nothing of the product but ``errors``."""

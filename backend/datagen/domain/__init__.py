"""What the product is about, as plain typed values and pure functions. Imports nothing of ours but ``errors``."""

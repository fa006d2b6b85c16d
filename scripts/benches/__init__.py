"""Benches of ``scripts/bench``: one module each, with ``main(arguments) -> int``. Nothing here is installed."""

"""Benches of ``scripts/bench``, one module each, with a function ``main(arguments) -> int``. They are not installed."""

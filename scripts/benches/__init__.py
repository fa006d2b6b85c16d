"""What ``scripts/bench`` runs: one module a bench, each with ``main(arguments) -> int``. Nothing here is installed."""

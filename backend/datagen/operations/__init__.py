"""Logging, metrics, health, process supervision and diagnostics."""

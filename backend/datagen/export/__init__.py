"""Datasets: the archive, one module for each format, and the consistency check."""

"""Wires settings to services; holds the functions that RQ runs, the scheduler, and the installation check."""

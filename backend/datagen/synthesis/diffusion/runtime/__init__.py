"""Devices and their errors, memory limits, the artifact cache and the watchdog."""

"""Decisions of people: checks, confirmation, state transitions and new spec versions."""

"""People's decisions: checks, confirmation, state transitions and new spec versions."""

"""Model weights: the hub, inspection before loading, preflight checks, and loading a pipeline."""

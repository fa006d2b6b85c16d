"""Model weights: inspection before loading, the hub, preflight checks, and loading a pipeline."""

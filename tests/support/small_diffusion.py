"""Parameters of the diffusion engine for a tiny model."""

from __future__ import annotations

#: Values with which a CPU renders in seconds.
SMALL = {
    "resolution": 32,
    "steps": 3,
    "candidates": 2,
    "fit_steps": 6,
    "fit_batch": 2,
    "lora_rank": 4,
    "learning_rate": 1e-2,
}

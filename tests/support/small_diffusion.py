"""Parameters of the diffusion engine that a CPU renders in seconds."""

from __future__ import annotations

#: Small enough for a CPU to render in seconds.
SMALL = {
    "resolution": 32,
    "steps": 3,
    "candidates": 2,
    "fit_steps": 6,
    "fit_batch": 2,
    "lora_rank": 4,
    "learning_rate": 1e-2,
}

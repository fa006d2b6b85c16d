"""The settings of inpainting that are drawn anew for each sample, so that verdicts can teach them. No torch.

Strength, guidance and steps are drawn about the spec's own settings. What verdicts taught (the parameter
``preference``) decides which of them are taken, in the same way as for the plans of the composite engine.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from datagen.domain.spec import sample_seed
from datagen.domain.trace import Draws
from datagen.domain.verdict import Reason
from datagen.synthesis.composite import draws as composite_draws
from datagen.synthesis.composite.plan_choice import acceptance, acceptance_threshold
from datagen.synthesis.learnable import LearnableDraw
from datagen.synthesis.preference import Preference

#: Settings drawn about the spec's own, those drawn from farther away, and the widening of the last one.
_NEAR, _FAR, _WIDEST = 24, 24, 3.0
#: Half of the range about a setting, in multiples of the draw's spread: an even draw then has this deviation.
_RANGE = 3**0.5
#: Decimal digits of a drawn number.
_DIGITS = 3

SETTINGS = (
    LearnableDraw(
        name="strength",
        words="share of noise that inpainting starts from",
        spread=0.12,
        limits=(0.05, 1.0),
        reasons={Reason.INVISIBLE: 1, Reason.TOO_STRONG: -1},
    ),
    LearnableDraw(
        name="guidance",
        words="weight of the prompt",
        scale="log",
        spread=0.35,
        limits=(1.01, 30.0),
        reasons={Reason.INVISIBLE: 1, Reason.WRONG_LOOK: 1, Reason.TOO_STRONG: -1},
    ),
    LearnableDraw(name="steps", words="number of denoising steps", scale="log", spread=0.2, limits=(1.0, 200.0)),
)
#: All that verdicts can teach the engine: composite's draws decide the places, and the look where it is kept.
LEARNABLE = (*composite_draws.LEARNABLE, *SETTINGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaintSettings:
    """The settings with which a crop is inpainted."""

    #: share of the noise that inpainting starts from
    strength: float
    #: weight of the prompt; None: the pipeline's own
    guidance: float | None
    #: number of denoising steps
    steps: int

    def draws(self, names: Collection[str]) -> dict[str, float | str]:
        """Return the settings of these names as draws of a trace."""
        values = {"strength": self.strength, "guidance": self.guidance, "steps": float(self.steps)}
        return {name: value for name in sorted(names) if (value := values[name]) is not None}


class SettingsChoice:
    """Draws the settings of samples, and prefers those that reviewers are expected to accept."""

    def __init__(self, usual: PaintSettings, names: Collection[str], preference: Preference | None) -> None:
        """Create the choice.

        Args:
            usual: the settings about which others are drawn.
            names: the names of those that are drawn; the others stay as they are.
            preference: what was learned; without it the first settings are taken.
        """
        self._usual, self._preference = usual, preference
        self._kinds = tuple(kind for kind in SETTINGS if kind.name in names)

    def choose(self, spec_digest: str, index: int, placed: Sequence[Draws]) -> PaintSettings:
        """Return the settings of a sample, which depend on the arguments alone.

        Args:
            spec_digest: the digest of the spec.
            index: the index of the sample.
            placed: the draws of its instances that are known before they are inpainted.
        """
        if not self._kinds:
            return self._usual
        chance = np.random.default_rng(sample_seed(f"{spec_digest}:settings", index))
        first = self._drawn(chance, 1.0)
        if self._preference is None or not placed:
            return first
        near = [first, *(self._drawn(chance, 1.0) for _ in range(_NEAR - 1))]
        far = [self._drawn(chance, float(widening)) for widening in np.linspace(1.0, _WIDEST, _FAR)]
        near_scores, far_scores = (np.array([self._score(each, placed) for each in group]) for group in (near, far))
        accepted = acceptance(np.concatenate([near_scores, far_scores]), acceptance_threshold(near_scores, far_scores))
        taken = np.flatnonzero(chance.random(len(accepted)) < accepted)
        return [*near, *far][int(taken[0]) if len(taken) else int(np.argmax(accepted))]

    def _drawn(self, chance: np.random.Generator, widening: float) -> PaintSettings:
        values = {kind.name: _about(kind, self._of(kind), chance.uniform(-1, 1) * widening) for kind in self._kinds}
        drawn = replace(
            self._usual,
            strength=values.get("strength", self._usual.strength),
            guidance=values.get("guidance", self._usual.guidance),
            steps=round(values.get("steps", self._usual.steps)),
        )
        # at least one step is painted
        return replace(drawn, steps=max(drawn.steps, math.ceil(1 / drawn.strength)))

    def _of(self, kind: LearnableDraw) -> float:
        return float(self._usual.draws([kind.name])[kind.name])

    def _score(self, settings: PaintSettings, placed: Sequence[Draws]) -> float:
        """Return the predicted score of a sample with these settings: that of its least acceptable instance."""
        assert self._preference is not None
        own = settings.draws([kind.name for kind in self._kinds])
        return float(self._preference.scores([{**each, **own} for each in placed]).min())


def _about(kind: LearnableDraw, usual: float, deviation: float) -> float:
    """Return a number about a usual one; what lies beyond the draw's limits is mirrored to the other side of it.

    Args:
        kind: the draw.
        usual: the number about which it is drawn.
        deviation: by how much it differs, in multiples of half of the range.
    """
    assert kind.limits is not None
    low, high = (min(kind.limits[0], usual), max(kind.limits[1], usual))
    shift = deviation * _RANGE * kind.spread
    for sign in (1, -1):
        value = usual * math.exp(sign * shift) if kind.scale == "log" else usual + sign * shift
        if low <= value <= high:
            return round(value, _DIGITS)
    return round(usual, _DIGITS)

"""A decision: what the person at the Decisions desk asked for, checked."""

from __future__ import annotations

from dataclasses import dataclass

from datagen.domain.lifecycle import Happening
from datagen.errors import Refused

#: How many images one generation run may have.
FEWEST_IMAGES, MOST_IMAGES = 1, 1_000_000

#: The choices on the decision form, in the order shown.
ACTIONS = (Happening.BUILD_PREVIEW, Happening.REFINE, Happening.APPROVE, Happening.CANCEL, Happening.STOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One submitted form: an action, and for *approve* how many images under which name."""

    action: Happening
    count: int | None = None
    name: str = ""
    note: str = ""

    def checked_count(self) -> int:
        """The number of images to generate.

        Raises:
            Refused: none was given, or it is outside 1 to 1,000,000.
        """
        if self.count is None:
            raise Refused("“approve” needs the number of images; fill it in and update the decision.")
        if not FEWEST_IMAGES <= self.count <= MOST_IMAGES:
            raise Refused(
                f"{self.count:,} images were asked for; a run makes {FEWEST_IMAGES} to {MOST_IMAGES:,}. "
                "Change the number and update the decision."
            )
        return self.count

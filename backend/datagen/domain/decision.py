"""A decision submitted in the Decisions project, and the check of its values."""

from __future__ import annotations

from dataclasses import dataclass

from datagen.domain.lifecycle import StudyEvent
from datagen.domain.wording import by_number, counted
from datagen.errors import Refused

#: Smallest and largest number of images in one generation run.
MIN_IMAGES, MAX_IMAGES = 1, 1_000_000

#: Smallest and largest number of samples in one audit.
MIN_AUDIT, MAX_AUDIT = 1, 200

#: The choices on the decision form, in the order shown.
ACTIONS = (
    StudyEvent.BUILD_PREVIEW,
    StudyEvent.REFINE,
    StudyEvent.AUDIT,
    StudyEvent.APPROVE,
    StudyEvent.PAUSE,
    StudyEvent.RESUME,
    StudyEvent.CANCEL,
    StudyEvent.STOP,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One submitted form: an action and, for *approve*, the number of images and the name of the run."""

    action: StudyEvent
    count: int | None = None
    #: for *audit*: the number of samples; None: the number of the settings
    audit_count: int | None = None
    name: str = ""
    note: str = ""
    #: whether the user confirmed the consequences (“I have looked” on the form, ``--confirm`` on the command line)
    confirmed: bool = False

    def checked_count(self, most: int = MAX_IMAGES) -> int:
        """Return the number of images to generate.

        Raises:
            Refused: no number was given, or it is outside 1 to ``most``.
        """
        if self.count is None:
            raise Refused("“approve” needs the number of images; give it and decide again.")
        if not MIN_IMAGES <= self.count <= most:
            raised = "" if most == MAX_IMAGES else " (DATAGEN_MAX_RUN_IMAGES)"
            asked_for = f"{counted(self.count, 'image')} {by_number(self.count, 'was', 'were')} asked for"
            raise Refused(
                f"{asked_for}; a run makes {MIN_IMAGES} to {most:,}{raised}. Decide again with such a number."
            )
        return self.count

    def checked_audit_count(self, default: int) -> int:
        """Return the number of samples to audit; ``default`` if none was given.

        Raises:
            Refused: the number is outside 1 to ``MAX_AUDIT``.
        """
        count = default if self.audit_count is None else self.audit_count
        if not MIN_AUDIT <= count <= MAX_AUDIT:
            asked_for = f"{counted(count, 'sample')} {by_number(count, 'was', 'were')} asked for"
            raise Refused(
                f"{asked_for}; an audit has {MIN_AUDIT} to {MAX_AUDIT}. Decide again with such a number of samples."
            )
        return count

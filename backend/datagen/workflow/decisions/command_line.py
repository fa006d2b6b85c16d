"""The shell command that submits a decision. Messages offer it as an alternative to the form."""

from __future__ import annotations

import shlex

from datagen.domain.decision import Decision
from datagen.domain.lifecycle import StudyEvent

_COMMANDS = {
    StudyEvent.BUILD_PREVIEW: "preview",
    StudyEvent.REFINE: "refine",
    StudyEvent.AUDIT: "audit-samples",
    StudyEvent.APPROVE: "approve",
    StudyEvent.PAUSE: "pause",
    StudyEvent.RESUME: "resume",
    StudyEvent.CANCEL: "cancel",
    StudyEvent.STOP: "stop",
}
#: Longest note in a command, in characters: a sentence on a decision page is cut at 1,000.
_LONGEST_NOTE = 300


def command_of(study: str, wish: Decision, *, confirm: bool = False) -> str:
    """Return the command, quoted for a shell, with the fields of the form that the command accepts.

    Args:
        study: the study's name.
        wish: the decision. Its count and name are left out unless it is *approve*, because the form has a count for
            every action. A note of more than ``_LONGEST_NOTE`` characters is left out, too.
        confirm: add the option that confirms the decision; only *refine*, *audit* and *approve* accept it.
    """
    options: list[str] = []
    if wish.action is StudyEvent.APPROVE:
        if wish.count is not None:
            options += ["--count", str(wish.count)]
        if wish.name:
            options += ["--name", wish.name]
    if wish.action is StudyEvent.AUDIT and wish.audit_count is not None:
        options += ["--count", str(wish.audit_count)]
    if 0 < len(wish.note) <= _LONGEST_NOTE:
        options += ["--note", wish.note]
    if confirm:
        options.append("--confirm")
    # a name that begins with a dash would be taken for an option
    words = [*options, "--", study] if study.startswith("-") else [study, *options]
    return shlex.join(["datagen", _COMMANDS[wish.action], *words])

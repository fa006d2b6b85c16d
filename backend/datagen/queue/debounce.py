"""A bell rings a moment after it was pressed, once for all that pressed it meanwhile.

Whoever answers a request presses it and is done: the answer does not wait for Redis. And a worker does not ask Label
Studio about an event while Label Studio is still busy answering the annotator who caused it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from datagen.workflow.services import Knock

#: Seconds from the first press to the ring: about as long as Label Studio takes to answer a Submit on a slow machine.
AFTER_S = 0.1


class Bell:
    """Passes knocks on, ``after`` seconds late and together; a process killed before leaves them to the sweeper."""

    def __init__(self, knock: Callable[[Sequence[Knock]], None], after: float = AFTER_S) -> None:
        self._knock, self._after = knock, after
        self._pressed: list[Knock] = []
        self._guard = threading.Lock()

    def press(self, knock: Knock) -> None:
        """Have this knock passed on with the next ring."""
        with self._guard:
            self._pressed.append(knock)
            first = len(self._pressed) == 1
        if first:  # no daemon: a process that ends in peace rings before
            threading.Timer(self._after, self._ring).start()

    def _ring(self) -> None:
        with self._guard:
            pressed, self._pressed = self._pressed, []
        self._knock(pressed)

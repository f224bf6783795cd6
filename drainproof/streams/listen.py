"""Hears one client: its records, its other words, and how far its clock is from ours."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from drainproof.streams.history import ClientDone, Clock, earlier, from_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.streams.history import Record


class Listener:
    """What is known of one client from the lines it printed.

    A client's first record says what time it is there. That was after the client was asked for and
    before the line was seen, which bounds the skew of its clock. If no skew is within the bounds,
    none is assumed. Otherwise the bound that the line's own way here makes is taken, which is the
    closer one, and taken off all of the client's times: the clients of a run are then on one clock.

    Args:
        asked: When the client was asked for, in seconds since the epoch.
        heard: Called for each record, in the order of the lines.
    """

    def __init__(self, asked: float, heard: Callable[[Record], None]) -> None:
        self._asked = asked
        self._heard = heard
        self._words: deque[str] = deque(maxlen=8)
        self.skew_s = 0.0
        """What is taken off the client's times."""
        self.done = False
        """Whether the client said its last words."""

    def line(self, text: bytes) -> None:
        """Take in one line."""
        try:
            record = from_line(text)
        except ValueError:
            self.say(text.decode(errors="replace"))
            return
        if isinstance(record, Clock):
            low, high = record.at - time.time(), record.at - self._asked
            self.skew_s = 0.0 if low <= 0 <= high else low
            record = replace(record, skew_s=self.skew_s, skew_low_s=low, skew_high_s=high)
        self._heard(earlier(record, self.skew_s) if self.skew_s else record)
        if isinstance(record, ClientDone):
            self.done = True

    def say(self, words: str) -> None:
        """Keep words that are no record."""
        self._words.append(words.strip()[:500])

    def words(self) -> str:
        """Return what the client printed last that was no record."""
        return "\n".join(self._words)


class Clients(Protocol):
    """The clients of a run, wherever they run: in a Job, or as processes of this machine."""

    @property
    def ended(self) -> bool:
        """Whether one of them will say nothing more; during a run that is too early."""

    def start(self) -> None:
        """Start them, and return when they run.

        Raises:
            UserError: They can't.
        """

    def stop(self) -> None:
        """Ask them to send nothing new; streams in flight go on to their end."""

    def wait(self) -> bool:
        """Wait until they have said their last words; return whether all of them did."""

    def words(self) -> str:
        """Return what they printed last that was no record."""

"""A terminal to run things at: a real pseudo terminal, and what is on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
import threading
from typing import TYPE_CHECKING, Self

import pyte

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 60
_FRAMES = re.compile(rb"(?=\r\x1b\[2K)")
"""Before a view is written anew, its lines are erased."""


class Terminal:
    """A terminal. Use as a context manager: when that is left, all that was written is there.

    Attributes:
        out: Where programs write.
        raw: All that was written.
        seen: Each state of the screen, one text each.
    """

    def __init__(self, columns: int = 200, lines: int = 50) -> None:
        self._master, slave = pty.openpty()
        self.out = os.fdopen(slave, "w", encoding="utf-8")
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000)
        self._stream = pyte.ByteStream(self.screen)
        self._changed = threading.Condition()
        self.raw = b""
        self.seen: list[str] = []
        self.resize(columns, lines)
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.out.close()
        self._reader.join(PATIENCE_S)
        os.close(self._master)

    def resize(self, columns: int, lines: int) -> None:
        """Change its size, as its window would."""
        with self._changed:
            self.screen.resize(lines, columns)
            self.say_size(columns, lines)

    def say_size(self, columns: int, lines: int) -> None:
        """Tell programs a size."""
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self.out.fileno(), termios.TIOCSWINSZ, size)

    @property
    def shown(self) -> list[str]:
        """The lines that are on the screen, empty ones at its end left out."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip().split("\n")

    @property
    def scrolled(self) -> list[str]:
        """The lines that have left it at its top, and those that are on it."""
        columns = range(self.screen.columns)
        gone = [
            "".join(line[column].data for column in columns) for line in self.screen.history.top
        ]
        return [line.rstrip() for line in gone] + self.shown

    @property
    def cursor_is_visible(self) -> bool:
        return not self.screen.cursor.hidden

    def wait(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """Return what is on the screen once something holds for it."""
        with self._changed:
            assert self._changed.wait_for(lambda: holds(self.shown), PATIENCE_S), self.shown
            return self.shown

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # nobody has it open any more
                return
            if not data:
                return
            with self._changed:
                for frame in _FRAMES.split(data):  # one read may bring several
                    self._stream.feed(frame)
                    self.seen.append("\n".join(self.shown))
                self.raw += data
                self._changed.notify_all()

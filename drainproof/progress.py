"""Progress that people can follow: one plain line a step, on standard error, with the time left."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple, Protocol, TextIO

from drainproof.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager


class Row(NamedTuple):
    """One line on how things stand; its texts may be anyone's."""

    label: str
    """A word or two."""
    words: str
    alarm: bool = False
    """Whether it is bad news."""


class Status(Protocol):
    """How long work stands, for whoever shows it. Asked from one thread."""

    def rows(self) -> Sequence[Row]:
        """Return how it stands now, what matters most first."""

    def close(self) -> None:
        """Keep count of it no more."""


class Progress(Protocol):
    """What long work reports to. Safe to call from several threads."""

    def line(self, text: str) -> None:
        """Say one thing."""

    def step(self, name: str, estimate_s: float | None = None) -> AbstractContextManager[None]:
        """Return a context manager around one piece of work expected to take ``estimate_s``."""

    def follow(self, begin: Callable[[], Status]) -> AbstractContextManager[None]:
        """Return a context manager around work whose state may be shown while it goes on.

        Args:
            begin: Called only if it is shown, before the work begins.
        """


def duration(seconds: float) -> str:
    """Write a number of seconds as people say it: ``8 s``, ``3 min 20 s``."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"  # noqa: PLR2004 - seconds in a minute


class PlainProgress:
    """Plain lines with the time since the start; used at a terminal and in CI logs alike.

    Args:
        out: Where lines go; standard error by default, so that reports can be piped.
        every_s: How often a step under way says that it still runs, in seconds.
    """

    def __init__(self, out: TextIO | None = None, every_s: float = 30.0) -> None:
        self._out = out or sys.stderr
        self._every = every_s
        self._start = time.monotonic()
        self._lock = threading.RLock()  # a signal's handler may have a line in the midst of another

    def line(self, text: str) -> None:
        """Print one line, stamped with minutes and seconds since the start."""
        with self._lock:
            self._write(f"[{self._elapsed()}] {printable(text)}")

    @contextmanager
    def step(self, name: str, estimate_s: float | None = None) -> Iterator[None]:
        """Announce ``name``, say how it gets on, and say how long it took."""
        about = f" (about {duration(estimate_s)})" if estimate_s else ""
        self.line(f"{name}{about}")
        begun = time.monotonic()
        done = threading.Event()

        def tick() -> None:
            while not done.wait(self._every):
                spent = time.monotonic() - begun
                left = ""
                if estimate_s:
                    rest = estimate_s - spent
                    left = f", about {duration(rest)} left" if rest > 0 else ", longer than usual"
                self.line(f"… {name}: {duration(spent)}{left}")

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield
        except BaseException:
            self.line(f"✗ {name}: failed after {duration(time.monotonic() - begun)}")
            raise
        else:
            self.line(f"✓ {name}: {duration(time.monotonic() - begun)}")
        finally:
            done.set()
            ticker.join()

    def follow(self, begin: Callable[[], Status]) -> AbstractContextManager[None]:  # noqa: ARG002 - the protocol's shape
        """Show nothing more than the lines."""
        return nullcontext()

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        return f"{minutes:02}:{seconds:02}"

    def _write(self, line: str) -> None:
        self._out.write(f"{line}\n")
        self._out.flush()


class NoProgress:
    """Says nothing; for tests and for pytest, which has its own way to show progress."""

    def line(self, text: str) -> None:
        """Drop ``text``."""

    @contextmanager
    def step(self, name: str, estimate_s: float | None = None) -> Iterator[None]:  # noqa: ARG002 - the protocol's shape
        """Run the step in silence."""
        yield

    def follow(self, begin: Callable[[], Status]) -> AbstractContextManager[None]:  # noqa: ARG002 - the protocol's shape
        """Show nothing."""
        return nullcontext()

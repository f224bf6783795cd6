"""A chaos run at a terminal: the plain lines scroll, and some lines below say how it stands.

What is shown is never worth the run: where showing fails, the plain lines go on alone.
"""

from __future__ import annotations

import os
import textwrap
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from drainproof.progress import PlainProgress, Row, duration
from drainproof.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.live import Live
    from rich.text import Text

    from drainproof.progress import Progress, Status

_LABEL = 9
"""Columns of the labels."""
_LEAST = 8
"""Columns of the words beside them, on however narrow a terminal."""
_PLAIN = 3
"""Rows that are left to plain lines, on however short a terminal."""
_USUAL = os.terminal_size((80, 24))
"""The size of a terminal that does not know its own."""


def progress_on(out: TextIO, environ: Mapping[str, str] = os.environ) -> Progress:
    """Return the live view where ``out`` is a terminal that can show it, else plain lines."""
    plain = environ.get("NO_COLOR") or environ.get("CI")
    dumb = environ.get("TERM", "dumb") in {"", "dumb", "unknown"}
    return PlainProgress(out) if plain or dumb or not out.isatty() else LiveView(out)


class LiveView(PlainProgress):
    """Plain lines, and below them how the work stands that is followed.

    Args:
        out: A terminal.
        every_s: How often a step under way says that it still runs, in seconds.
        refresh_s: How often the lines below are written anew, in seconds.
    """

    def __init__(self, out: TextIO, every_s: float = 30.0, refresh_s: float = 0.5) -> None:
        super().__init__(out, every_s)
        self._refresh = refresh_s
        self._live: Live | None = None
        self._steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str, estimate_s: float | None = None) -> Iterator[None]:
        """Do what plain progress does, and keep in mind what is under way."""
        under_way = name, time.monotonic()
        self._steps.append(under_way)
        try:
            with super().step(name, estimate_s):
                yield
        finally:
            self._steps.remove(under_way)

    @contextmanager
    def follow(self, begin: Callable[[], Status]) -> Iterator[None]:
        """Show how the work within stands, until it is left."""
        over = threading.Event()
        drawing = self._drawing(begin, over)
        try:
            yield
        finally:
            over.set()
            if drawing:
                drawing.join()

    def _drawing(
        self, begin: Callable[[], Status], over: threading.Event
    ) -> threading.Thread | None:
        """Begin to draw; return the thread that does."""
        try:
            drawing = threading.Thread(target=self._draw, args=(begin(), over), daemon=True)
            drawing.start()
        except Exception as error:  # noqa: BLE001 - the work goes on
            self._give_up(error)
            return None
        return drawing

    def _draw(self, status: Status, over: threading.Event) -> None:
        try:
            self._open()
            while self._live:
                self._show(status.rows())
                if over.wait(self._refresh):
                    break
        except Exception as error:  # noqa: BLE001 - the work goes on
            self._give_up(error)
        finally:
            with suppress(Exception):
                self._close()
            status.close()

    def _open(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - loads slowly, and only a terminal has it
        from rich.live import Live  # noqa: PLC0415 - same

        with self._lock:
            live = Live(
                console=Console(file=self._out, force_terminal=True, force_interactive=True),
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            live.start()
            live.console.show_cursor()  # there it stays, even if this process is killed
            self._live = live

    def _close(self) -> None:
        with self._lock:
            live, self._live = self._live, None
            if live:
                live.stop()

    def _show(self, rows: Sequence[Row]) -> None:
        from rich.console import Group  # noqa: PLC0415 - same

        with self._lock:
            if live := self._live:
                columns, lines = self._fit(live)
                shown = _written([self._now(), *rows], columns - 1)
                live.update(Group(*shown[: max(lines - _PLAIN, 1)]), refresh=True)

    def _now(self) -> Row:
        """Return the time since the start, and what is under way."""
        under_way = "; ".join(
            f"{name}, {duration(time.monotonic() - begun)}" for name, begun in self._steps[-1:]
        )
        return Row(self._elapsed(), under_way)

    def _write(self, line: str) -> None:
        if live := self._live:
            try:
                self._fit(live)
                live.console.out(line, highlight=False)
            except Exception as error:  # noqa: BLE001 - the work goes on
                self._give_up(error)
            else:
                return
        super()._write(line)

    def _fit(self, live: Live) -> os.terminal_size:
        """Follow the terminal's size."""
        size = os.get_terminal_size(self._out.fileno())
        live.console.size = size = size if all(size) else _USUAL
        return size

    def _give_up(self, error: Exception) -> None:
        """End the view, and say so in a plain line."""
        with suppress(Exception):
            self._close()
        with suppress(Exception):
            self.line(f"the live view is over ({type(error).__name__}: {error}); the run goes on")


def _written(rows: Sequence[Row], width: int) -> list[Text]:
    """Return the rows' lines, none of which is wider than the terminal."""
    from rich.text import Text  # noqa: PLC0415 - same

    lines = []
    for row in rows:
        label = printable(row.label)
        for words in textwrap.wrap(printable(row.words), max(width - _LABEL, _LEAST)) or [""]:
            told = (words, "red" if row.alarm else "")
            line = Text.assemble((f"{label:{_LABEL}}", "dim"), told, overflow="ellipsis")
            line.no_wrap = True
            lines.append(line)
            label = ""
    return lines

"""Writes records the moment they are known, so that nothing is lost with the process."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.streams.history import to_line

if TYPE_CHECKING:
    from drainproof.streams.history import Record


class Recorder:
    """Appends records to a file descriptor, one line of JSON each, without a buffer of its own.

    Args:
        descriptor: Open for writing; made blocking, so that a slow reader shows as the client's lag
            and not as lost lines.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, True)
        self._descriptor = descriptor
        self.written: Counter[str] = Counter()
        """Number of records written, by kind."""

    def __call__(self, record: Record) -> None:
        """Write one record.

        Raises:
            UserError: It can't be written: the disk is full, or whoever read the pipe is gone.
        """
        rest = memoryview(to_line(record))
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise UserError(
                f"cannot write the streams' records: {error.strerror}",
                hint="Without records there is nothing to judge, so the client stopped.",
            ) from None
        self.written[record.kind] += 1

"""Reads a saved History for the judge: twice, in bulk, and what concerns streams on all cores.

The first reading takes in the cluster's side and only counts the lines of streams. The second takes
in nothing else; it is shared out by stream, so that each share sees its streams from end to end.
Shares add up to the same whole, however many there are.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec

from drainproof.errors import UserError
from drainproof.judge.scene import Scene
from drainproof.judge.streams import PartLine
from drainproof.judge.tally import Tally
from drainproof.judge.verdict import MOST_FAILURES
from drainproof.streams.history import BUFFER, Part, Sent, Stream, from_line, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from drainproof.streams.history import Record

_SHARED_FROM: Final = 64_000_000
"""Bytes from which on a History is worth the start of further processes."""
_MOST_SHARES: Final = 8
_LOOKED_AT: Final = 20
"""Pieces of streams that the first reading looks at, to see whether tokens are numbered."""
_BEGIN: Final = b'{"kind":"'
_NAMED: Final = len(_BEGIN) + len('sent"')


def _name(kind: str) -> bytes:
    return b'%b%b","id":"' % (_BEGIN, kind.encode())


_KINDS: Final = {_name(cls.kind)[:_NAMED]: cls for cls in (Sent, Part, Stream)}
"""By how their lines begin as this program writes them."""
_ID_AT: Final = {begin: len(_name(cls.kind)) for begin, cls in _KINDS.items()}
"""Where in such a line the stream's id begins."""


def tally_file(path: Path, shares: int | None = None, told: int = MOST_FAILURES) -> Tally:
    """Count all that a History tells.

    Args:
        path: The History.
        shares: Processes that read its streams; None is as many as there are cores for a long one.
        told: How many failed streams of each fault are told one by one.

    Raises:
        UserError: There is no History, or it is damaged.
    """
    counted: Counter[str] = Counter()
    scene = Scene(read(path, lambda lines: _of_cluster(lines, counted)))
    scene.clients.seen.update(counted)
    if shares is None:
        long = path.stat().st_size >= _SHARED_FROM
        shares = min(_cores(), _MOST_SHARES) if long else 1
    if shares == 1:
        return _share(path, scene, 0, 1, told)
    # not forked: whoever calls may have threads
    with ProcessPoolExecutor(shares - 1, mp_context=get_context("spawn")) as pool:
        others = [
            pool.submit(_share, path, scene, share, shares, told) for share in range(1, shares)
        ]
        tally = _share(path, scene, 0, shares, told)
        for other in others:
            tally.merge(other.result())
    return tally


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _of_cluster(lines: Iterable[bytes], counted: Counter[str]) -> Iterator[tuple[int, bytes]]:
    """Yield all lines but those of streams, which are counted; and a few of those."""
    of_streams: Counter[bytes] = Counter(dict.fromkeys(_KINDS, 0))
    looked_at = 0
    for number, line in enumerate(lines, 1):
        begin = line[:_NAMED]
        if begin not in of_streams:
            yield number, line
        elif looked_at < _LOOKED_AT or line[-1:] != b"\n":
            looked_at += _KINDS[begin] is not Sent
            yield number, line
        else:
            of_streams[begin] += 1
    counted.update({_KINDS[begin].kind: count for begin, count in of_streams.items()})


def _share(path: Path, scene: Scene, share: int, shares: int, told: int) -> Tally:
    """Count one share of the streams."""
    tally = Tally(scene, told)
    take, add = tally.checker.take, tally.add
    number = 0
    with _no_collection(), path.open("rb", buffering=BUFFER) as lines:
        for number, line in enumerate(lines, 1):
            begin = line[:_NAMED]
            id_at = _ID_AT.get(begin)
            record: Record | PartLine | None
            try:
                if id_at is None:
                    record = None if line.startswith(_BEGIN) else _foreign(line, share, shares)
                else:
                    stream = line[id_at : line.index(b'"', id_at)]
                    if shares > 1 and crc32(stream) % shares != share:
                        continue
                    record = _decoded(begin, stream, line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    break  # a crash cut it off
                raise UserError(f"{path}:{number}: damaged History: {error}") from None
            if record is not None and (verdict := take(record)) is not None:
                add(verdict, number)
    tally.left(number + 1)
    return tally


def _decoded(begin: bytes, stream: bytes, line: bytes) -> Sent | PartLine | Part | Stream:
    """Read a line of a stream; one that only a part is in is left for later.

    Raises:
        ValueError: It is damaged.
    """
    cls = _KINDS[begin]
    if cls is Part and line.endswith(b"}\n"):
        return PartLine(stream.decode(), line)
    try:
        return _DECODERS[begin].decode(line)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None


_DECODERS: Final[dict[bytes, msgspec.json.Decoder[Sent | Part | Stream]]] = {
    begin: msgspec.json.Decoder(cls) for begin, cls in _KINDS.items()
}


def _foreign(line: bytes, share: int, shares: int) -> Record | None:
    """Read a line that another program wrote; return it if it is of this share's streams."""
    record = from_line(line)
    if not isinstance(record, Sent | Part | Stream):
        return None
    return record if crc32(record.id.encode()) % shares == share else None


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for cycles among millions of short lists; there are none."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()

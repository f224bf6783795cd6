"""How long the verdict on a long History takes, and how much memory: it is to grow with its length.

The History is that of a rollout under a thousand streams a second: of each stream the records that
the client writes (``sent``, ``part``, ``stream``), in the order of time, its texts masked as they
are by default. One stream in a hundred is cut off. Bodies are made beforehand, 512 of them, each
with its own lengths of tokens, id and usage; ids of streams and times are each stream's own.

``drainproof judge`` is run on it as users run it: wall time and CPU time of the whole command, and
the memory of all its processes together at its peak, looked at ten times a second. Where others use
the machine, wall time says little and CPU time is too high.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from drainproof.streams.history import (
    VERSION,
    Client,
    ClientDone,
    Clock,
    Ending,
    Endpoints,
    Fault,
    Gauge,
    Header,
    Part,
    Pod,
    Stream,
    pack_body,
    to_line,
)
from drainproof.streams.mask import without_text

if TYPE_CHECKING:
    from collections.abc import Iterator

RATE = 1000
"""Streams begun in a second."""
TOKEN_S = 0.1
BODIES = 512
FIRST_PART = 64
"""Events of a stream that its first record holds, as the client writes it."""
CUT_EVERY = 100
GOAL_S = 60.0
GOAL_MB = 500
T0 = 1_800_000_000.0
PODS = 4
MEGABYTE = 10**6


class Body(NamedTuple):
    """An answer's records, but for what is each stream's own."""

    part: bytes
    whole: bytes
    cut: bytes


def main() -> None:
    """Judge a History and one of a tenth of its length; print both and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python bench/judge/run.py")
    parser.add_argument("--streams", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=100, help="of each stream")
    parser.add_argument("--folder", type=Path, help="for the Histories, some 4 KB a stream")
    options = parser.parse_args()
    found = {}
    for streams in (options.streams // 10, options.streams):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "history.jsonl"
            write(path, streams, options.events)
            size = path.stat().st_size
            found[streams] = seconds, cpu_s, peak = judged(path, streams)
        print(
            f"{streams:>9,} streams of {options.events} events, {size / MEGABYTE:,.0f} MB: "
            f"{seconds:.1f} s, {cpu_s:.1f} s of CPU, {peak / MEGABYTE:.0f} MB",
            flush=True,
        )
    (few_s, few_cpu_s, _), (many_s, many_cpu_s, peak) = found.values()
    last = {
        "bench": "judge",
        "streams": options.streams,
        "events": options.events,
        "cores": len(os.sched_getaffinity(0)),
        "seconds": round(many_s, 2),
        "cpu_seconds": round(many_cpu_s, 2),
        "peak_mb": round(peak / MEGABYTE),
        "seconds_for_a_tenth": round(few_s, 2),
        "times_longer": round(many_s / few_s, 2),
        "times_more_cpu": round(many_cpu_s / few_cpu_s, 2),
        "cpu_us_per_event": round(many_cpu_s * 1e6 / options.streams / options.events, 3),
        "goal_met": many_s <= GOAL_S and peak <= GOAL_MB * MEGABYTE,
    }
    print(orjson.dumps(last).decode())


def judged(path: Path, streams: int) -> tuple[float, float, int]:
    """Judge a History; return the seconds, the seconds of CPU and the bytes that it took."""
    words = [sys.executable, "-m", "drainproof", "judge", str(path), "--format", "json"]
    peak = 0
    begun = time.perf_counter()
    with tempfile.TemporaryFile() as out:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen(words, stdout=out)
        while process.poll() is None:
            peak = max(peak, sum(map(_resident, _family(process.pid))))
            time.sleep(0.1)
        seconds = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        out.seek(0)
        verdict = orjson.loads(out.read())
    cut = sum(number % CUT_EVERY == 0 for number in range(streams))
    if (verdict["whole"], verdict["dropped"] + verdict["failed_before"]) != (streams - cut, cut):
        sys.exit(f"error: the verdict is wrong: {verdict['reasons']}")
    return seconds, cpu_s, peak


def _family(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))


def _resident(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


# ── The History ─────────────────────────────────────────────────────────────────────────────────


def write(path: Path, streams: int, events: int) -> None:
    """Write the History of so many streams of so many tokens."""
    rng = random.Random(1)  # noqa: S311 - repeatable is the point
    bodies = [body(rng, events) for _ in range(BODIES)]
    part_after = int(FIRST_PART * TOKEN_S * RATE)
    end_after = int((events + 1) * TOKEN_S * RATE)
    seconds = (streams + end_after) / RATE
    cluster = list(cluster_lines(seconds))
    with path.open("wb", buffering=MEGABYTE) as out:
        out.write(cluster.pop(0)[1])
        for step in range(streams + end_after):
            now = T0 + step / RATE
            while cluster and cluster[0][0] <= now:
                out.write(cluster.pop(0)[1])
            if step < streams:
                out.write(
                    b'{"kind":"sent","id":"0-%d","due":%.6f,"sent":%.6f}\n'
                    % (step, now, now + 0.001)
                )
            if 0 <= (number := step - part_after) < streams and events > FIRST_PART:
                out.write(b'{"kind":"part","id":"0-%d",%b' % (number, bodies[number % BODIES].part))
            if 0 <= (number := step - end_after) < streams:
                due = T0 + number / RATE
                rest = bodies[number % BODIES]
                out.write(
                    b'{"kind":"stream","id":"0-%d","due":%.6f,"connected":%.6f,"sent":%.6f,'
                    b'"answered":%.6f,"ended":%.6f,%b'
                    % (
                        *(number, due, due + 0.0005, due + 0.001, due + 0.05, now),
                        rest.whole if number % CUT_EVERY else rest.cut,
                    )
                )
        parts = streams if events > FIRST_PART else 0
        done = ClientDone(at=now, sent=streams, recorded=streams, parts=parts)
        out.write(b"".join(line for _, line in cluster) + to_line(done))


def body(rng: random.Random, events: int) -> Body:
    """Return an answer as vLLM sends it and the client records it, in one read an event."""
    key = f"{rng.getrandbits(128):032x}"
    pieces = [_event(key, "x" * rng.randint(1, 12)) for _ in range(events - 1)]
    pieces += [
        _event(key, "xx", "length"),
        _usage(key, rng.randint(5, 500), events),
        b"data: [DONE]\n\n",
    ]
    pieces = [without_text(piece, key) for piece in pieces]
    micros = [
        int((place + 1) * TOKEN_S * 1e6) + rng.randrange(20_000) for place in range(len(pieces))
    ]
    waits = [after - before for before, after in pairwise([0, *micros])]
    sizes = [len(piece) for piece in pieces]
    first = FIRST_PART if events > FIRST_PART else 0

    def line(begin: int, end: int, ending: Ending) -> bytes:
        stream = Stream(
            id="",
            due=0.0,
            connected=0.0,
            sent=0.0,
            answered=0.0,
            ended=0.0,
            ending=ending,
            error="" if ending is Ending.COMPLETE else "the server closed within the body",
            status=200,
            content_type="text/event-stream; charset=utf-8",
            waits=waits[begin:end],
            sizes=sizes[begin:end],
            body=pack_body(b"".join(pieces[begin:end])),
            expected_tokens=events,
            parts=1 if first else 0,
            max_tokens=events,
        )
        return _after(to_line(stream), b'"ended":0.0,')

    head = pack_body(b"".join(pieces[:first]))
    part = Part(id="", waits=waits[:first], sizes=sizes[:first], body=head)
    return Body(
        part=_after(to_line(part), b'"id":"",'),
        whole=line(first, len(pieces), Ending.COMPLETE),
        cut=line(first, (first + len(pieces)) // 2, Ending.EOF),
    )


def _after(line: bytes, mark: bytes) -> bytes:
    return line.partition(mark)[2]


def _event(key: str, text: str, reason: str | None = None) -> bytes:
    choice = {
        "index": 0,
        "text": text,
        "logprobs": None,
        "finish_reason": reason,
        "stop_reason": None,
        "prompt_token_ids": None,
        "token_ids": None,
    }
    return _sse(key, [choice])


def _usage(key: str, prompt: int, tokens: int) -> bytes:
    counts = {
        "prompt_tokens": prompt,
        "total_tokens": prompt + tokens,
        "completion_tokens": tokens,
    }
    return _sse(key, [], usage=counts)


def _sse(key: str, choices: list[dict[str, object]], **more: object) -> bytes:
    head = {"id": f"cmpl-{key}", "object": "text_completion", "created": int(T0), "model": "llama"}
    return b"data: " + orjson.dumps({**head, "choices": choices, **more}) + b"\n\n"


def cluster_lines(seconds: float) -> Iterator[tuple[float, bytes]]:
    """Yield the cluster's side: four pods, replaced one by one in the middle of it; with times."""
    target = {
        "kind": "Deployment",
        "namespace": "inference",
        "name": "vllm",
        "container": "vllm",
        "prestop_s": 15.0,
        "grace_period_s": 60.0,
        "replicas": PODS,
    }
    load = {"rate_per_s": RATE}
    header = Header(version=VERSION, tool="0", at=T0, fault="rollout", target=target, load=load)
    yield 0.0, to_line(header)
    yield T0, to_line(Clock(at=T0, client="0"))
    step = seconds / 20
    begin = T0 + seconds / 2
    ready = [f"old-{number}" for number in range(PODS)]
    found = [
        (T0, to_line(Endpoints(at=T0, ready=list(ready), terminating=[]))),
        (begin, to_line(Fault(at=begin, fault="rollout", phase="begin", detail=""))),
    ]
    for number in range(PODS):
        at = begin + step * (number + 0.5)
        old, new = ready[0], f"new-{number}"
        found += [
            (at, to_line(_pod(at, old, at))),
            (at + 1, to_line(_pod(at + 1, old, at, gone=True))),
        ]
        ready = [*ready[1:], new]
        found.append((at, to_line(Endpoints(at=at, ready=list(ready), terminating=[old]))))
    over = begin + step * (PODS + 1)
    found.append((over, to_line(Fault(at=over, fault="rollout", phase="end", detail=""))))
    for second in range(int(seconds)):
        at = T0 + second
        me = Client(at=at, in_flight=1, send_lag_ms=1.0, loop_lag_ms=1.0, cpu_share=0.5)
        found.append((at, to_line(me)))
        found += [
            (at, to_line(Gauge(at=at, pod=f"old-{pod}", running=10.0, waiting=0.0, error="")))
            for pod in range(PODS)
        ]
    yield from sorted(found, key=lambda pair: pair[0])


def _pod(at: float, name: str, deleted: float, *, gone: bool = False) -> Pod:
    return Pod(
        at=at,
        event="DELETED" if gone else "MODIFIED",
        name=name,
        uid=name,
        node="n",
        phase="Running",
        ready=True,
        deletion_at=deleted,
        grace_s=60.0,
        containers=[],
    )


if __name__ == "__main__":
    main()

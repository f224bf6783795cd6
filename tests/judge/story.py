"""Histories of a rollout, told by a small model of a correct cluster whose parts tests can break.

One replica and a surge pod: ``old`` is deleted at 120 s, ``new`` is ready from 119 s on.
A stream of 20 s begins each second from 60 s on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from drainproof.judge.chaos import ChaosVerdict, judge
from drainproof.streams.history import (
    VERSION,
    Client,
    ClientDone,
    Clock,
    Ending,
    Endpoints,
    Event,
    Fault,
    Gauge,
    Header,
    Pod,
    Record,
    Sent,
    Stream,
    from_line,
    to_line,
)
from tests.streams.bodies import DONE, ERROR, answer, chunk, recorded, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T0 = 1_700_000_000.0
WHOLE = b"".join(answer(5))
HALF = b"".join(answer(5)[:3])
ABORTED = HALF + ERROR + DONE
SILENT = HALF + chunk(" x", "length") + usage(4) + DONE

Fate = tuple[float, dict[str, Any]]
"""When a stream ended, and what is changed in its record."""


def nothing(_pod: str, _sent: float, _end: float) -> Fate | None:
    return None


@dataclass
class Story:
    """What happened; times are seconds since ``t0``."""

    prestop_s: float | None = 15.0
    grace_s: float = 60.0
    stream_s: float = 20.0
    first: int = 60
    last: int = 170
    begin: float | None = 100.0
    deleted: float | None = 120.0
    container_ended: float = 150.0
    exit_code: int = 0
    end: float | None = 155.0
    timeout: str = ""
    fate: Callable[[str, float, float], Fate | None] = nothing
    gauge: Callable[[float, int], float | None] = field(default=lambda _at, running: running)
    endpoints: list[tuple[float, list[str], list[str]]] = field(
        default_factory=lambda: [
            (50, ["old"], []),
            (119, ["new", "old"], []),
            (120.1, ["new"], ["old"]),
            (151, ["new"], []),
        ]
    )
    extra: list[Record] = field(default_factory=list)
    lag_ms: float = 1.0
    name: str = "rollout"
    cost: str = "graceful"
    recover_s: float = 0.0
    stops: bool = True
    hits: tuple[tuple[float, str], ...] = ()
    took_s: float = 0.0
    """How long each hit took."""
    """When which pod is hit."""
    index: int = 0
    t0: float = T0
    lose: frozenset[int] = frozenset()
    """Streams whose end was never recorded."""
    pause: tuple[float, float] = (0.0, 0.0)
    """From when to when no request is sent."""
    context: int | None = None
    """The engine's, in tokens."""

    def pod_for(self, sent: float) -> str:
        """Return where a correct Service sends a request: to the new pod once it is there."""
        ready: list[str] = []
        for at, names, _ in self.endpoints:
            if at <= sent:
                ready = names
        return ready[0] if ready else "none"

    def streams(self) -> list[tuple[str, Stream]]:
        """Return each stream with the pod that it was on."""
        found = []
        for number in range(self.last - self.first):
            sent = self.first + number + 0.5
            if self.pause[0] <= sent < self.pause[1]:
                continue
            pod = self.pod_for(sent)
            fate = self.fate(pod, sent, sent + self.stream_s)
            ended, changes = fate or (sent + self.stream_s, {})
            body = changes.pop("raw", WHOLE)
            values: dict[str, Any] = {
                "id": f"{self.index}-{number}",
                "due": self.t0 + sent,
                "connected": self.t0 + sent,
                "sent": self.t0 + sent,
                "answered": self.t0 + sent + 0.1,
                "ended": self.t0 + ended,
            }
            found.append((pod, recorded(body, **(values | changes))))
        return found

    def records(self) -> list[Record]:
        """Return the whole History, in the order in which things became known."""
        streams = self.streams()
        timed: list[tuple[float, Record]] = [(self.t0, Clock(at=self.t0, client="0"))]
        kept = [stream for n, (_, stream) in enumerate(streams) if n not in self.lose]
        timed += [
            (stream.sent, Sent(id=stream.id, due=stream.due, sent=stream.sent))
            for _, stream in streams
            if stream.sent is not None
        ]
        timed += [(stream.ended, stream) for stream in kept]
        timed += [
            (self.t0 + at, self.client(self.t0 + at)) for at in range(self.first, self.last + 25)
        ]
        timed += [
            (self.t0 + at, Endpoints(at=self.t0 + at, ready=ready, terminating=terminating))
            for at, ready, terminating in self.endpoints
        ]
        timed += self.pods()
        timed += self.gauges(streams)
        if self.begin is not None:
            timed.append((self.t0 + self.begin, self.fault(self.begin, "begin")))
        for at, pod in self.hits:
            timed.append((self.t0 + at, self.fault(at, "hit", pods=[pod])))
        if self.end is not None:
            timed.append(
                (self.t0 + self.end, self.fault(self.end, "timeout" if self.timeout else "end"))
            )
        timed += [(getattr(record, "at", 0.0), record) for record in self.extra]
        timed.sort(key=lambda pair: pair[0])
        sent = sum(stream.sent is not None for _, stream in streams)
        done = ClientDone(at=self.t0 + 300, sent=sent, recorded=len(streams))
        return [self.header(), *(record for _, record in timed), done]

    def judged(self) -> ChaosVerdict:
        return judge(self.records)

    def header(self) -> Header:
        return Header(
            version=VERSION,
            tool="0",
            at=self.t0,
            fault=self.name,
            target={
                "kind": "Deployment",
                "namespace": "inference",
                "name": "vllm",
                "context": "c",
                "service": "vllm",
                "replicas": 1,
                "engine": "vllm",
                "engine_version": "0.32.0",
                "container": "vllm",
                "drain_s": 30.0,
                "prestop_s": self.prestop_s,
                "grace_period_s": self.grace_s,
                "max_model_len": self.context,
            },
            load={"rate_per_s": 1.0, "max_tokens": 5},
        )

    def client(self, at: float) -> Client:
        return Client(at=at, in_flight=1, send_lag_ms=1.0, loop_lag_ms=self.lag_ms, cpu_share=0.1)

    def fault(self, at: float, phase: str, pods: Sequence[str] = ()) -> Fault:
        return Fault(
            at=self.t0 + at,
            fault=self.name,
            phase=phase,
            detail=self.timeout if phase == "timeout" else "",
            index=self.index,
            pods=list(pods),
            cost=self.cost if phase == "begin" else "graceful",
            recover_s=self.recover_s if phase == "begin" else 0.0,
            stops=self.stops or phase != "begin",
            took_s=self.took_s if phase == "hit" else 0.0,
        )

    def pod(  # noqa: PLR0913 - the parts of a pod's record
        self,
        at: float,
        name: str,
        event: str = "MODIFIED",
        *,
        deletion_at: float | None = None,
        grace_s: float | None = None,
        container: dict[str, Any] | None = None,
    ) -> Pod:
        state = {
            "name": "vllm",
            "state": "running",
            "exit_code": None,
            "reason": "",
            "started_at": self.t0,
            "finished_at": None,
            "restarts": 0,
        }
        return Pod(
            at=self.t0 + at,
            event=event,
            name=name,
            uid=f"uid-{name}",
            node="n",
            phase="Running",
            ready=True,
            deletion_at=deletion_at,
            grace_s=grace_s,
            containers=[state | (container or {})],
        )

    def pods(self) -> list[tuple[float, Record]]:
        found = [self.pod(50, "old", "ADDED"), self.pod(101, "new", "ADDED")]
        if self.deleted is not None:
            at, grace_s = self.t0 + int(self.deleted), self.grace_s
            over = {
                "state": "terminated",
                "exit_code": self.exit_code,
                "reason": "Completed" if self.exit_code == 0 else "Error",
                "finished_at": self.t0 + int(self.container_ended),
            }
            found.append(self.pod(self.deleted, "old", deletion_at=at, grace_s=grace_s))
            found += [
                self.pod(when, "old", told, deletion_at=at, grace_s=grace_s, container=over)
                for when, told in (
                    (self.container_ended + 0.3, "MODIFIED"),
                    (self.container_ended + 0.6, "DELETED"),
                )
            ]
        return [(pod.at, pod) for pod in found]

    def gauges(self, streams: list[tuple[str, Stream]]) -> list[tuple[float, Record]]:
        found: list[tuple[float, Record]] = []
        for tenth in range(int(self.first * 10), int(self.container_ended * 10), 10):
            at = tenth / 10 + 0.05
            running = sum(
                pod == "old"
                and stream.sent is not None
                and stream.sent <= self.t0 + at < stream.ended
                for pod, stream in streams
            )
            value = self.gauge(at, running)
            words = "" if value is not None else "HTTP 404"
            gauge = Gauge(at=self.t0 + at, pod="old", running=value, waiting=None, error=words)
            found.append((gauge.at, gauge))
        return found


@dataclass
class Killed(Story):
    """Two pods, ``a`` and ``b``, that take turns; the engine of ``a`` is killed at 120 s.

    Its streams are cut, what is sent to it in the next half second is refused, and it is back at
    126 s.
    """

    name: str = "container-kill"
    cost: str = "abrupt"
    recover_s: float = 10.0
    begin: float | None = 119.8
    end: float | None = 130.0
    deleted: float | None = None
    exit_code: int = 137
    hits: tuple[tuple[float, str], ...] = ((120.0, "a"),)
    ending: Ending = Ending.EOF
    kills: bool = True
    """Whether the hit costs anything; a readiness probe that flaps does not."""
    endpoints: list[tuple[float, list[str], list[str]]] = field(
        default_factory=lambda: [(50, ["a", "b"], []), (120.6, ["b"], []), (126, ["a", "b"], [])]
    )

    def pod_for(self, sent: float) -> str:
        ready: list[str] = []
        for at, names, _ in self.endpoints:
            if at <= sent:
                ready = names
        return ready[int(sent) % len(ready)] if ready else "none"

    def streams(self) -> list[tuple[str, Stream]]:
        told = self.fate

        def killed(pod: str, sent: float, end: float) -> Fate | None:
            fate = told(pod, sent, end)
            if fate or pod != "a" or not self.kills:
                return fate
            cut = {"raw": HALF, "ending": self.ending, "error": "gone"}
            refused = {"raw": b"", "ending": Ending.REFUSED, "status": None, "sent": None}
            if sent < KILL < end:
                return KILL + 0.1, cut
            return (sent + 0.01, refused) if KILL <= sent < KILL + 0.6 else None

        self.fate = killed
        try:
            return super().streams()
        finally:
            self.fate = told

    def pods(self) -> list[tuple[float, Record]]:
        died = {"exit_code": 137, "reason": "Error", "finished_at": self.t0 + KILL}
        found = [self.pod(50, name, "ADDED") for name in ("a", "b")]
        if self.kills:
            found.append(self.pod(KILL + 0.4, "a", container=died | {"restarts": 1}))
        return [(pod.at, pod) for pod in found]

    def gauges(self, streams: list[tuple[str, Stream]]) -> list[tuple[float, Record]]:
        found: list[tuple[float, Record]] = []
        for second in range(self.first, int(KILL)):
            for name in ("a", "b"):
                at = self.t0 + second + 0.9
                running = sum(
                    pod == name and stream.sent is not None and stream.sent <= at < stream.ended
                    for pod, stream in streams
                )
                value = self.gauge(second + 0.9, running)
                found.append((at, Gauge(at=at, pod=name, running=value, waiting=None, error="")))
        return found


KILL = 120.0


def sequence(*stories: Story) -> list[Record]:
    """Return the History of several faults under one load, in the order of their indices."""
    records: list[tuple[float, Record]] = []
    sent = recorded_ = 0
    for story in stories:
        for told in story.records()[1:]:
            record = from_line(_names(to_line(told), story.index))
            if isinstance(record, ClientDone):
                sent, recorded_ = sent + record.sent, recorded_ + record.recorded
            elif not isinstance(record, Clock):
                at = getattr(record, "at", None)
                at = getattr(record, "sent", None) if at is None else at
                at = record.ended if isinstance(record, Stream) else at
                records.append((at or 0.0, record))
    records.sort(key=lambda pair: pair[0])
    name = ",".join(story.name for story in stories)
    return [
        replace(stories[0].header(), fault=name),
        Clock(at=T0, client="0"),
        *(record for _, record in records),
        ClientDone(at=records[-1][0] + 1, sent=sent, recorded=recorded_),
    ]


def _names(line: bytes, index: int) -> bytes:
    """Give the pods of each story names of their own."""
    for name in ("old", "new", "a", "b"):
        line = line.replace(b'"%b"' % name.encode(), b'"%b-%d"' % (name.encode(), index))
    return line


def event(at: float, name: str, reason: str, message: str) -> Event:
    return Event(at=T0 + at, object=f"Pod/{name}", reason=reason, message=message)

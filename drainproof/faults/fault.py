"""What every fault is: it is set up, done and undone. Each is a file in ``catalogue/``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from drainproof.errors import UserError
from drainproof.faults.undo import passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from drainproof.faults.api import Api, Object
    from drainproof.faults.consent import Need, Target
    from drainproof.faults.journal import Journal
    from drainproof.faults.observe import View
    from drainproof.streams.history import Pod

GRACEFUL = "graceful"
"""Costs no stream and no new request."""
ABRUPT = "abrupt"
"""May cost the streams on its victims; new requests are served again within ``recover_s``."""
CONTROL_PLANE = "control-plane"
"""Takes away what scales the target: costs no stream and no new request, either."""
PROGRESS_S = 600.0
"""Kubernetes' default of ``progressDeadlineSeconds``."""
TEARDOWN_S = 30.0
"""What an engine may need beyond its grace period until its pod is gone (measured: 6 to 14 s)."""
MEETINGS = 3
"""New requests that have to come at least before a fault is over."""
MISSED = 0.001
"""In which share of runs they may all miss one of the pods."""
REROUTED_S = 15.0
"""Within this, new requests go to other pods than one that was killed: its kubelet sees it within
3 s, kube-proxy's rules follow within 2 s; the rest is for busy nodes."""


def text(value: object) -> str:
    """Read a text that isn't empty."""
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """Something that a user may choose about a fault."""

    says: str
    """What may be given, in words: for help, and for errors."""
    read: Callable[[Any], Any]
    """Turns what was given, a text or a value of YAML, into what the fault wants.

    Raises:
        ValueError: It is not that.
    """
    default: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A fault that the user asked for."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float | None = None
    """None is what the target itself allows."""

    def __str__(self) -> str:
        given = ",".join(f"{key}={_written(value)}" for key, value in self.options.items())
        return f"{self.name}:{given}" if given else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Many short requests beside the streams, while a fault is on."""

    rate_per_s: float
    tokens: int
    users: int | None = None
    """How many are in flight at once, where they are users who ask again when they have their
    answer; they are meant to wait. None: they come whatever is in flight."""


class Fault(ABC):
    """One thing that is done to a target.

    Args:
        api: The cluster.
        target: What it is done to, as it is just before.
        wanted: What the user asked for.
    """

    name: ClassVar[str]
    cost: ClassVar[str] = GRACEFUL
    needs: ClassVar[tuple[Need, ...]] = ()
    """The permissions that it takes, beside those of every run."""
    options: ClassVar[Mapping[str, Option]] = {}
    reason: ClassVar[str] = ""
    """What is done to its pods, in the journal's words."""
    scaling: ClassVar[bool] = False
    """Whether it is about what scales the target, which is watched then."""

    def __init__(self, api: Api, target: Target, wanted: Wanted) -> None:
        self.api = api
        self.target = target
        self.chosen = {key: option.default for key, option in self.options.items()}
        self.chosen |= wanted.options
        self.timeout_s = wanted.timeout_s or self.longest_s
        self._mark: int | None = None
        self.beside: Callable[[Crowd], AbstractContextManager[None]] = lambda _crowd: nullcontext()
        """Lets a crowd come, for a while within it."""
        self.quiet: Callable[[], AbstractContextManager[None]] = nullcontext
        """Lets no stream come, for a while within it: those in flight come to their end first."""
        self.pace_per_s: float | None = None
        """Tokens per second of one stream; None if nobody knows."""

    @property
    def longest_s(self) -> float:
        """How long it may take if the user doesn't say: one pod's end, and another's start."""
        spec = self.target.deployment["spec"]
        progress_s: float = spec.get("progressDeadlineSeconds") or PROGRESS_S
        return progress_s + self.target.workload.grace_period_s + TEARDOWN_S

    @property
    def recover_s(self) -> float:
        """Within how many seconds new requests must succeed again; 0 is at once."""
        if self.cost != ABRUPT:
            return 0.0
        return REROUTED_S if len(self.target.pods) > 1 else self.longest_s

    @property
    def avoids(self) -> tuple[str, ...]:
        """Nodes that the streaming clients have to keep off; known after :meth:`setup`."""
        return ()

    @property
    def stops(self) -> bool:
        """Whether it is to stop pods; else all streams are put to the test."""
        return True

    @property
    def crowd(self) -> Crowd | None:
        """What comes beside the streams while it is on."""
        return None

    @property
    def replicas(self) -> int:
        """How many replicas the target is to have."""
        return int(self.target.deployment["spec"].get("replicas", 1))

    @abstractmethod
    def setup(self) -> None:
        """See that it can work here. Changes nothing.

        Raises:
            UserError: It can't, with the reason.
        """

    @abstractmethod
    def touches(self) -> Iterable[str]:
        """Say all that would be changed, one thing a line."""

    def invoke(self, journal: Journal, view: View, check: Callable[[], None]) -> bool:
        """Do it, and wait until its effect is complete; return False if it didn't get there.

        Args:
            journal: Where each change is written down before it is made.
            view: What is seen of the target, and where the fault's steps are recorded.
            check: Raises if the run can't go on.
        """
        self._mark = journal.mark
        self.journal, self.view, self.check = journal, view, check
        self.before = len(view.ready)
        problem = self.act() or self._met()
        view.fault(self.name, "timeout" if problem else "end", problem or self.outcome())
        return not problem

    @abstractmethod
    def act(self) -> str:
        """Do it and wait; return why its effect isn't complete, or nothing."""

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"{len(self.view.ready)} pods are ready, as before"

    def teardown(self, journal: Journal, say: Callable[[str], None]) -> bool:
        """Take its changes back; return whether everything is as it was."""
        return self._mark is None or journal.undo(say, since=self._mark)

    # ── for those that act ──

    def within(self, fault: Fault) -> Self:
        """Let it be a part of another one, which has begun."""
        self.journal, self.view, self.check = fault.journal, fault.view, fault.check
        return self

    def begin(self, detail: str, **more: Any) -> None:  # noqa: ANN401 - fields of the record
        """Record that it is about to be done."""
        self._struck()
        more = {"cost": self.cost, "recover_s": self.recover_s, "stops": self.stops, **more}
        self.view.fault(self.name, "begin", detail, **more)

    def note(self, pod: Pod) -> None:
        """Write down what is about to be done to a pod, which Kubernetes makes good by itself."""
        self.journal.plan(passing(as_object(pod), self.reason))

    def hit(self, pods: Iterable[str], detail: str = "", asked: float | None = None) -> None:
        """Record that pods were hit.

        Args:
            pods: Their names.
            detail: How.
            asked: When it was asked for, which may take its time; by default it took none.
        """
        self._struck()
        at = self.struck_at if asked is None else asked
        took_s = self.struck_at - at
        self.view.fault(self.name, "hit", detail, pods=sorted(pods), at=at, took_s=took_s)

    def _struck(self) -> None:
        self.struck_at = self.view.now()
        """When it began, or hit its last pods; seconds since the epoch."""

    def _met(self) -> str:
        """Wait until new requests have met what was done; return why none came, or nothing."""
        sent = self.view.sent
        if not sent:
            return ""  # there is no load at all
        enough = sent + meetings(len(self.view.ready))
        return self.wait(lambda: self.view.sent >= enough, "too few new requests came")

    def wait(self, holds: Callable[[], bool], otherwise: str) -> str:
        """Wait until something holds; return why it doesn't, or nothing."""
        if self.view.wait(holds, self.timeout_s, self.check):
            return ""
        return f"{otherwise} within {self.timeout_s:.0f} s"

    def gone_and_replaced(self, uids: set[str]) -> str:
        """Wait until pods are gone and as many as before are ready; return why not, or nothing."""
        return self.wait(
            lambda: not uids & self.view.pods.keys() and len(self.view.ready) >= self.before,
            "what was stopped was not gone and replaced",
        )


class OnePod(Fault):
    """A fault that takes one pod away, at least from the Service."""

    options: ClassVar[Mapping[str, Option]] = {
        "pod": Option(says="a pod's name; by default the one with most streams", read=text)
    }
    reason: ClassVar[str] = "deleted"

    def setup(self) -> None:
        """See that the pod is there, and that the target can spare it.

        Raises:
            UserError: It isn't, or can't.
        """
        if self.chosen["pod"] and self.chosen["pod"] not in self.target.pods:
            raise UserError(
                f"pod/{self.chosen['pod']} is no ready pod of {self.target}",
                hint=f"There are: {', '.join(self.target.pods)}.",
            )
        spare(self.target, 1)

    @property
    def one(self) -> str:
        """The pod, as far as it is known beforehand."""
        return f"pod/{self.chosen['pod']}" if self.chosen["pod"] else "the pod with most streams"

    def victim(self) -> Pod:
        """Return the pod that is to be hit: that which was asked for, or the busiest.

        Raises:
            UserError: It is no longer there.
        """
        ready = [pod for pod in self.view.ready if self.chosen["pod"] in {None, pod.name}]
        if not ready:
            raise UserError(f"{self.one} of {self.target} is no longer ready")
        return self.busiest(ready)

    def busiest(self, pods: Iterable[Pod]) -> Pod:
        """Return the pod with most streams."""
        return max(pods, key=lambda pod: self.view.running.get(pod.name, 0.0))

    def act(self) -> str:
        """Hit the pod, and wait until its place is taken."""
        victim = self.victim()
        self.begin(f"pod/{victim.name} {self.reason}")
        self.note(victim)
        return self.strike(victim) or self.gone_and_replaced({victim.uid})

    @abstractmethod
    def strike(self, pod: Pod) -> str:
        """Do to the pod what is to be done; return why it could not be, or nothing."""


def meetings(pods: int) -> int:
    """Return how many new requests it takes for each of some pods to get one, all but surely."""
    if pods < 2:  # noqa: PLR2004 - there is no other
        return MEETINGS
    return max(MEETINGS, math.ceil(math.log(MISSED) / math.log1p(-1 / pods)))


def spare(target: Target, count: int) -> None:
    """See that a target can spare some of its pods.

    Raises:
        UserError: More than one less than its own floor would be left.
    """
    left = len(target.pods) - count
    if left < target.floor - 1:
        raise UserError(
            f"{target} has {len(target.pods)} ready pods, and its own floor is {target.floor}: "
            f"{left} would be left, and at most one less than the floor may be taken away",
            hint="Wait until its pods are ready, or let it have more replicas.",
        )


def as_object(pod: Pod) -> Object:
    """Return what identifies a pod, as an object of the API."""
    return {"kind": "Pod", "metadata": {"name": pod.name, "uid": pod.uid}}


def whole(low: int, high: int) -> Callable[[Any], int]:
    """Return a reader of whole numbers."""

    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) else value
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise ValueError
        return number

    return read


def number(low: float, high: float) -> Callable[[Any], float]:
    """Return a reader of numbers."""

    def read(value: object) -> float:
        found = float(value) if isinstance(value, str | int | float) else math.nan
        if isinstance(value, bool) or not low <= found <= high:
            raise ValueError
        return found

    return read


def one_of(*names: str) -> Callable[[Any], str]:
    """Return a reader of one of some words."""

    def read(value: object) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return read


def _written(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)

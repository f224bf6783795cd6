"""One chaos run, from consent to verdict, with everything undone on every way out."""

from __future__ import annotations

import math
import secrets
import signal
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from drainproof import __version__
from drainproof.errors import UserError
from drainproof.faults.api import Api
from drainproof.faults.consent import NEEDS, Target, consent, served_model
from drainproof.faults.journal import VERSION as JOURNAL_VERSION
from drainproof.faults.journal import Entry, Journal
from drainproof.faults.lease import Lease
from drainproof.faults.load import LoadJob, Runner
from drainproof.faults.observe import Observer, View
from drainproof.faults.rollout import Rollout
from drainproof.faults.snapshot import SNAPSHOT, snapshot
from drainproof.judge.chaos import HISTORY, VERDICT, ChaosVerdict, judge_evidence
from drainproof.judge.streams import Effect, judge_streams
from drainproof.streams.history import VERSION as HISTORY_VERSION
from drainproof.streams.history import Header
from drainproof.streams.settings import Load

if TYPE_CHECKING:
    from types import FrameType

    from drainproof.progress import Progress

FAULTS = {Rollout.name: Rollout}
"""What can be done to a target, by name."""
CLIENT_IMAGE = f"drainproof/client:{__version__}"
_STEADY_STREAMS = 3
"""Whole streams that prove that the target serves. By the first, streams have been coming for as
long as one takes, so as many are in flight as ever will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the user asked for."""

    context: str
    namespace: str
    target: str
    fault: str = Rollout.name
    service: str = ""
    port: int | None = None
    model: str = ""
    rate_per_s: float = 0.7
    tokens: int = 1200
    seed: int = 0
    evidence: Path | None = None
    """None is a new folder under ``evidence/``."""
    timeout_s: float | None = None
    """For the fault; None is what the target itself allows."""
    steady_s: float = 300.0
    """How long the target may take to complete its first streams."""
    after_s: float = 10.0
    """How long load goes on after the fault."""
    settle_s: float = 180.0
    """How long streams in flight may go on after that."""
    stall_s: float = 60.0
    """How long a stream may go without a byte before its user gives up."""
    runner: Runner = field(default_factory=lambda: Runner(image=""))
    """Without an image: the embedded cluster's own, elsewhere ``CLIENT_IMAGE``."""

    @property
    def restore(self) -> str:
        """The command that undoes what this run may leave if it is killed."""
        return f"drainproof restore --context {self.context} -n {self.namespace}"


_SLACK_S = 300.0
"""Beyond the limits of its parts, what a whole run may take: starting the client, collecting."""


class RunInterruptedError(UserError):
    """Ctrl-C or SIGTERM came; everything that could be undone has been."""


def run(plan: Plan, progress: Progress) -> tuple[ChaosVerdict, Path]:
    """Do what ``plan`` says; return the verdict and the evidence folder.

    Raises:
        UserError: It could not be done or judged. What was changed has been undone; if it could not
            be, the message says so and how to.
    """
    from drainproof.collect.connect import connect  # noqa: PLC0415 - loads the Kubernetes client

    if not plan.runner.image:
        image = _client_image(plan.context, progress)
        plan = replace(plan, runner=replace(plan.runner, image=image))
    return run_on(Api(connect(plan.context)), plan, progress)


def _client_image(context: str, progress: Progress) -> str:
    """Return the image of the streaming client; the embedded cluster is given one built here."""
    from drainproof import clusters  # noqa: PLC0415 - only where no image is named

    cluster = clusters.for_context(context)
    if cluster is None:
        return CLIENT_IMAGE
    from drainproof.clusters.packages import client_image  # noqa: PLC0415 - same

    image = client_image(progress)
    cluster.load_image(image)
    return image.name


def run_on(api: Api, plan: Plan, progress: Progress) -> tuple[ChaosVerdict, Path]:
    """Do what :func:`run` does, on a cluster that is connected already."""
    fault_type = FAULTS.get(plan.fault)
    if fault_type is None:
        raise UserError(
            f"no fault is called {plan.fault!r}", hint=f"There are: {', '.join(FAULTS)}."
        )
    target = consent(
        api,
        context=plan.context,
        namespace=plan.namespace,
        target=plan.target,
        service=plan.service,
        port=plan.port,
        needs=(*NEEDS, *fault_type.needs),
    )
    run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    lease = Lease(api, target.namespace, str(target), run_id, restore=plan.restore)
    lease.look()
    fault = fault_type(api, target, plan.timeout_s)
    fault.setup()
    load = _load(plan, target, plan.model or served_model(api, target))
    folder = _folder(plan, target, run_id)
    progress.line(
        f"{plan.fault} of {target} in {plan.namespace}, {len(target.pods)} ready pods, through "
        f"service/{target.service}:{target.port}; evidence in {folder}"
    )
    _Session(api, plan, target, fault, lease, load, folder, progress).go()
    verdict = judge_evidence(folder)
    (folder / VERDICT).write_bytes(verdict.to_json())
    return verdict, folder


class _Session:
    """The part of a run that changes things."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a run
        self,
        api: Api,
        plan: Plan,
        target: Target,
        fault: Rollout,
        lease: Lease,
        load: Load,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._plan = plan
        self._fault = fault
        self._lease = lease
        self._load = load
        self._progress = progress
        entry = Entry(
            version=JOURNAL_VERSION,
            run=lease.run,
            context=plan.context,
            namespace=target.namespace,
            target=str(target),
            lease=lease.name,
            created=time.time(),
        )
        self._journal = Journal(api, folder, entry)
        (folder / SNAPSHOT).write_bytes(snapshot(target.deployment))
        self._view = View(folder / HISTORY)
        self._view.add(_header(plan, target, load))
        self._observer = Observer(api, target, self._view)
        lifetime_s = _SLACK_S + plan.steady_s + fault.timeout_s + plan.after_s + plan.settle_s
        self._job = LoadJob(api, self._journal, load, plan.runner, lifetime_s, self._view.add)

    def go(self) -> None:
        """Run, and undo whatever happens."""
        problem: BaseException | None = None
        with _Interrupts(self._progress) as interrupts:
            try:
                try:
                    self._lease.take()
                    self._journal.open()
                    self._act()
                finally:
                    interrupts.quiet = True
            except (Exception, _Interrupt) as error:  # noqa: BLE001 - undone first, raised then
                problem = error
            clean = self._clean_up(interrupted=problem is not None)
        if isinstance(problem, _Interrupt):
            was = "; the target is as it was" if clean else ""
            problem = RunInterruptedError(f"interrupted by {problem}{was}")
        if not clean:
            first = f"{problem}; " if problem else ""
            raise UserError(
                f"{first}not everything could be undone", hint=f"Try again: {self._plan.restore}"
            ) from None
        if problem:
            raise problem from None

    def _act(self) -> None:
        progress, view, fault = self._progress, self._view, self._fault
        with progress.step("start the streams"):
            self._observer.start()
            self._job.start()
        with progress.step("wait for a steady state"):
            self._steady()
        with progress.step(f"{fault.name}", None):
            view.skew_s = self._job.skew_s
            completed = fault.invoke(self._journal, view, self._check)
        if completed:
            view.wait(lambda: False, self._plan.after_s, self._check)
        with progress.step("let the streams in flight end"):
            self._job.stop()
            if not self._job.wait():
                progress.line("the client did not say its last words; see the verdict")

    def _steady(self) -> None:
        """Wait until whole streams have come.

        Raises:
            UserError: The target doesn't serve them.
        """
        view = self._view
        judged = 0
        whole = 0

        def steady() -> bool:
            nonlocal judged, whole
            if view.streams > judged:
                judged = view.streams
                verdicts = [v for v in judge_streams(view.heard) if v.ended is not None]
                whole = sum(v.effect is Effect.WHOLE for v in verdicts)
                bad = [v for v in verdicts if v.effect in {Effect.DROPPED, Effect.NOT_SERVED}]
                if len(bad) >= _STEADY_STREAMS and len(bad) >= whole:
                    raise UserError(
                        f"the target does not serve streams before the fault: {len(bad)} of "
                        f"{len(verdicts)} failed; the last: {bad[-1].outcome}: {bad[-1].detail}",
                        hint="Nothing was done to it. Does it serve the model "
                        f"{self._load.model!r} at {self._load.url}?",
                    )
            return whole >= _STEADY_STREAMS

        if not view.wait(steady, self._plan.steady_s, self._check):
            raise UserError(
                f"the target completed {whole} streams in {self._plan.steady_s:.0f} s, and "
                f"{_STEADY_STREAMS} are needed to begin",
                hint="Ask for shorter streams (--tokens) or more of them (--rate).",
            )
        view.forget()

    def _check(self) -> None:
        """Raise if the run can't go on."""
        self._lease.check()
        if self._job.ended:
            words = self._job.words()
            raise UserError(
                "the streaming client ended too early" + (f": {words}" if words else "")
            )

    def _clean_up(self, *, interrupted: bool) -> bool:
        self._observer.stop()
        say = self._progress.line
        try:
            if interrupted and self._journal.entry.changes:
                say("undoing what was changed")
            clean = self._fault.teardown(self._journal, say)
            if clean:
                self._lease.release()
        except UserError as error:
            say(error.message)
            clean = False
        self._view.fault(self._fault.name, "undone" if clean else "not-undone")
        self._view.close()
        return clean


def _load(plan: Plan, target: Target, model: str) -> Load:
    return Load(
        url=target.url,
        model=model,
        max_tokens=plan.tokens,
        rate_per_s=plan.rate_per_s,
        seed=plan.seed,
        stall_s=plan.stall_s,
        settle_s=plan.settle_s,
    )


def _folder(plan: Plan, target: Target, run_id: str) -> Path:
    folder = plan.evidence or Path("evidence") / f"{target.name}-{run_id}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UserError(
                f"{folder}: the evidence folder is not empty",
                hint="Name a new one with --evidence, so that no evidence is mixed up.",
            )
    except OSError as error:
        raise UserError(f"{folder}: cannot make the evidence folder: {error.strerror}") from None
    return folder


def _header(plan: Plan, target: Target, load: Load) -> Header:
    workload = target.workload
    engine = target.engine
    return Header(
        version=HISTORY_VERSION,
        tool=__version__,
        at=time.time(),
        fault=plan.fault,
        target={
            "kind": target.kind,
            "namespace": target.namespace,
            "name": target.name,
            "context": target.context,
            "service": target.service,
            "replicas": target.deployment["spec"].get("replicas", 1),
            "grace_period_s": workload.grace_period_s,
            "prestop_s": None if engine.prestop_drains else engine.prestop_s,
            "engine": engine.name,
            "engine_version": engine.version_text,
            "container": engine.container,
            "drain_s": engine.drain_s if engine.drain_s != math.inf else None,
        },
        load=load.public(),
    )


class _Interrupt(BaseException):
    """A signal, as an exception that unwinds what runs."""


class _Interrupts:
    """Turns the first SIGINT or SIGTERM into an exception, and lets none stop the undoing.

    Only the main thread can be told of signals; elsewhere this does nothing.
    """

    def __init__(self, progress: Progress) -> None:
        self.quiet = False
        """No signal raises any more."""
        self._progress = progress
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hit)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hit(self, number: int, _frame: FrameType | None) -> None:
        if self.quiet:
            self._progress.line("still undoing; this takes at most a minute or two")
            return
        self.quiet = True
        raise _Interrupt("Ctrl-C" if number == signal.SIGINT else "SIGTERM")

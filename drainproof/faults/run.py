"""One chaos run, from consent to verdict, with everything undone on every way out."""

from __future__ import annotations

import math
import secrets
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson

from drainproof import __version__
from drainproof.errors import UserError
from drainproof.faults.api import Api, ApiError
from drainproof.faults.autoscaled import Autoscaled
from drainproof.faults.catalogue import FAULTS
from drainproof.faults.consent import NEEDS, Target, again, consent, served_model
from drainproof.faults.crowding import Crowding
from drainproof.faults.fault import ABRUPT
from drainproof.faults.journal import VERSION as JOURNAL_VERSION
from drainproof.faults.journal import Entry, Journal, journal_name
from drainproof.faults.lease import Lease
from drainproof.faults.load import LoadJob
from drainproof.faults.observe import Observer, View
from drainproof.faults.snapshot import SNAPSHOT, snapshot
from drainproof.faults.so_far import SoFar
from drainproof.faults.steady import STREAMS, Steady
from drainproof.judge.chaos import HISTORY, VERDICT, ChaosVerdict, judge_evidence
from drainproof.report.scaling import write
from drainproof.streams.history import VERSION as HISTORY_VERSION
from drainproof.streams.history import Header, Sent, Stream
from drainproof.streams.local import LocalClients
from drainproof.streams.pace import (
    MARGIN_S,
    PROBE_TOKENS,
    chosen,
    in_words,
    room,
    tokens_to_outlast,
)
from drainproof.streams.settings import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from drainproof.collect.prometheus import Place
    from drainproof.faults.asking import Asking
    from drainproof.faults.fault import Crowd, Fault, Wanted
    from drainproof.faults.plan import Plan
    from drainproof.progress import Progress
    from drainproof.streams.history import Record
    from drainproof.streams.listen import Clients

CLIENT_IMAGE = f"drainproof/client:{__version__}"
_PACE = "pace"
"""The client whose streams the pace is measured with."""
_AGAIN = "again"
"""The client whose streams come after a while without any."""
_PROBES_PER_S = 2.0
"""One after the other, so that a first one that is slow is not all there is."""
_CONTEXT = ("--max-model-len", "--context-length", "--max-seq-len", "--max-total-tokens")
"""Flags of vLLM, SGLang, trtllm-serve and TGI for the tokens of prompt and answer together."""
_ASK_S = 5.0
_QUEUED_S = 300.0
"""How long a stream may wait for its first token where a queue is made on purpose."""
_SLACK_S = 300.0
"""Beyond the limits of its parts, what a whole run may take: starting the client, collecting."""


class RunInterruptedError(UserError):
    """Ctrl-C or SIGTERM came; everything that could be undone has been."""


def run(
    plan: Plan, progress: Progress, refused: dict[int, UserError] | None = None
) -> tuple[ChaosVerdict, Path]:
    """Do what ``plan`` says; return the verdict and the evidence folder.

    Args:
        plan: What to do.
        progress: Told each step.
        refused: Faults that can't work here are left out and put here, by their place in the plan;
            None: one of them is an error.

    Raises:
        UserError: It could not be done or judged. What was changed has been undone; if it could not
            be, the message says so and how to.
    """
    from drainproof.collect.connect import connect  # noqa: PLC0415 - loads the Kubernetes client

    if not plan.runner.image and not plan.url:
        image = _client_image(plan.context, progress)
        plan = replace(plan, runner=replace(plan.runner, image=image))
    return run_on(Api(connect(plan.context)), plan, progress, refused)


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


def run_on(
    api: Api, plan: Plan, progress: Progress, refused: dict[int, UserError] | None = None
) -> tuple[ChaosVerdict, Path]:
    """Do what :func:`run` does, on a cluster that is connected already."""
    target = _consent(api, plan)
    run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    lease = Lease(api, target.namespace, str(target), run_id, restore=plan.restore)
    lease.look()
    faults = _set_up(api, plan, target, refused)
    plan = replace(plan, faults=tuple(wanted for wanted, _ in faults))
    load = _load(plan, target, plan.model or served_model(api, target))
    folder = _folder(plan, target, run_id)
    progress.line(
        f"{plan.named} of {target} in {plan.namespace}, {len(target.pods)} ready pods, through "
        f"{plan.url or f'service/{target.service}:{target.port}'}; evidence in {folder}"
    )
    session = _Session(
        api, plan, target, [fault for _, fault in faults], lease, load, folder, progress
    )
    session.go()
    verdict = judge_evidence(folder)
    (folder / VERDICT).write_bytes(verdict.to_json())
    write(verdict, folder)
    return verdict, folder


def dry_run(plan: Plan) -> Iterator[str]:
    """Yield what a run would touch, line by line. Changes nothing, not even a Lease.

    Raises:
        UserError: The run would be refused, with the reason.
    """
    from drainproof.collect.connect import connect  # noqa: PLC0415 - loads the Kubernetes client

    return dry_run_on(Api(connect(plan.context)), plan)


def dry_run_on(api: Api, plan: Plan) -> Iterator[str]:
    """Do what :func:`dry_run` does, on a cluster that is connected already."""
    target = _consent(api, plan)
    lease = Lease(api, target.namespace, str(target), "RUN", restore=plan.restore)
    lease.look()
    faults = _set_up(api, plan, target, None)
    parts = plan.load.get("parts", 1)
    yield f"{target} in {plan.namespace} of context {plan.context}; nothing is changed now"
    yield "for the run, and deleted afterwards:"
    yield f"  lease/{lease.name}"
    yield f"  configmap/{journal_name('RUN')}"
    if plan.url:
        yield f"  on this machine: {parts} streaming clients of {plan.url}"
    else:
        image = plan.runner.image or "of this version"
        yield f"  job/drainproof-RUN: {parts} streaming clients, image {image}"
        if "max_tokens" not in plan.load:
            yield f"  job/drainproof-RUN-{_PACE}: one more, which measures the pace of streams"
    if plan.prometheus and any(fault.scaling for _, fault in faults):
        yield f"{_prometheus(api, plan).said} is asked for the autoscaler's query, once a second"
    for wanted, fault in faults:
        yield f"{wanted} ({fault.cost}), for at most {fault.timeout_s:.0f} s:"
        for line in fault.touches():
            yield f"  {line}"


def _consent(api: Api, plan: Plan) -> Target:
    return consent(
        api,
        context=plan.context,
        namespace=plan.namespace,
        target=plan.target,
        service=plan.service,
        port=plan.port,
        tls=plan.tls,
        needs=(*NEEDS, *(need for wanted in plan.faults for need in FAULTS[wanted.name].needs)),
        yes_production=plan.yes_production,
    )


def _made(api: Api, plan: Plan, target: Target, wanted: Wanted) -> Fault:
    """Return a fault that can work on the target as it is now.

    Raises:
        UserError: It can't, with the reason.
    """
    limit = wanted.timeout_s or plan.timeout_s
    fault = FAULTS[wanted.name](api, target, replace(wanted, timeout_s=limit))
    fault.setup()
    return fault


def _set_up(
    api: Api, plan: Plan, target: Target, refused: dict[int, UserError] | None
) -> list[tuple[Wanted, Fault]]:
    """Return the faults that can work; all of them, unless the others are to be told of."""
    found = []
    for index, wanted in enumerate(plan.faults):
        try:
            found.append((wanted, _made(api, plan, target, wanted)))
        except UserError as error:
            if refused is None:
                raise
            refused[index] = error
    if not found and refused:
        raise next(iter(refused.values()))
    return found


class _Session:
    """The part of a run that changes things."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a run
        self,
        api: Api,
        plan: Plan,
        target: Target,
        faults: list[Fault],
        lease: Lease,
        load: Load,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._api = api
        self._plan = plan
        self._target = target
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
        self._steady = Steady()
        self._context: int | None = None
        """Tokens that the engine allows prompt and answer together; None if unknown."""
        self._view.listeners = (self._steady.hear,)
        scaling = any(fault.scaling for fault in faults)
        if any(isinstance(fault, Crowding) for fault in faults):
            # users of a crowd make all others wait, too
            self._load = load = replace(load, stall_s=max(load.stall_s, _QUEUED_S))
        self._observer = Observer(api, target, self._view, scaling=scaling)
        self._asking = self._asks(faults) if scaling and plan.prometheus else None
        each = sum(fault.timeout_s + fault.recover_s + plan.steady_s for fault in faults)
        self._lifetime_s = _SLACK_S + each + plan.after_s + load.settle_s
        avoids = tuple({node for fault in faults for node in fault.avoids})
        self._runner = replace(plan.runner, avoids=avoids)
        self._clients: Clients | None = None
        self._crowd: Clients | None = None
        self._crowds = 0
        self._fault: Fault = faults[0]

    def _asks(self, faults: list[Fault]) -> Asking:
        """Return who asks Prometheus the autoscaler's query.

        Raises:
            UserError: There is no Prometheus, or it does not answer.
        """
        from drainproof.faults.asking import Asking  # noqa: PLC0415 - only where it is asked

        scalers = [fault.declared.scaler for fault in faults if isinstance(fault, Autoscaled)]
        place = _prometheus(self._api, self._plan)
        return Asking(place, self._target, scalers, self._view)

    def _made_clients(
        self, load: Load, heard: Callable[[Record], None], name: str = "main"
    ) -> Clients:
        if self._plan.url:
            return LocalClients(load, heard)
        return LoadJob(self._api, self._journal, load, self._runner, self._lifetime_s, heard, name)

    def go(self) -> None:
        """Run, and undo whatever happens."""
        problem: BaseException | None = None
        faults = [str(wanted) for wanted in self._plan.faults]
        so_far = partial(SoFar, self._view, faults, self._target.name)
        with _Interrupts(self._progress) as interrupts:
            try:
                try:
                    with self._progress.follow(so_far):
                        self._begin()
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

    def _begin(self) -> None:
        """Take the target, and see how long its streams have to be.

        The History begins with the load that is put on.
        """
        try:
            self._lease.take()
            self._journal.open()
            self._context = self._steady.context = context_of(self._api, self._target)
            if self._chooses:
                self._load = self._long_enough()
            else:
                self._say_if_too_long()
        finally:
            version = self._api.version()
            header = _header(self._plan, self._target, self._load, version, self._context)
            self._view.add(header)

    def _act(self) -> None:
        progress, view = self._progress, self._view
        self._clients = self._made_clients(self._load, view.add)
        with progress.step("start the streams"):
            self._observer.start()
            if self._asking:
                self._asking.start()
            self._clients.start()
        with progress.step("wait for a steady state"):
            self._first_steady()
        completed = False
        for index, wanted in enumerate(self._plan.faults):
            if index and not self._between(index, wanted):
                completed = False
                break
            completed = self._one(wanted)
        if completed:
            view.wait(lambda: False, self._plan.after_s, self._check)
        with progress.step("let the streams in flight end"):
            self._stop_streams()
        if completed and self._steady.whole and not self._steady.bad:
            view.fault(self._fault.name, "steady", f"{self._steady.whole} streams came whole")

    def _stop_streams(self) -> None:
        """Send nothing new, and let the streams in flight come to their end."""
        clients, self._clients = self._clients, None  # from here it may end
        if clients:
            clients.stop()
            if not clients.wait():
                self._progress.line("the client did not say its last words; see the verdict")

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Let no stream come for a while."""
        self._stop_streams()
        yield
        load = replace(self._load, client=_AGAIN, parts=1)
        self._clients = self._made_clients(load, self._view.add, _AGAIN)
        self._clients.start()

    def _say_if_too_long(self) -> None:
        """Say so if streams of the length that was asked for may fill the engine's context."""
        asked = self._load.max_tokens
        most = self._room
        if most is not None and most < asked:
            self._progress.line(
                f"streams of {asked} tokens may be more than the engine's context leaves beside "
                "the longest prompt, and one that fills it ends early, perhaps within the preStop "
                f"delay; shorter prompts or --tokens {max(most, 1)} surely fit"
            )

    @property
    def _chooses(self) -> bool:
        """Whether the user left the length of the streams to us."""
        return "max_tokens" not in self._plan.load

    @property
    def _room(self) -> int | None:
        """The tokens that the context leaves beside the longest prompt; None if unknown."""
        return room(self._context, self._load.prompts)

    @property
    def _prestop_s(self) -> float | None:
        """The preStop delay that streams have to outlast; None if it is unknown."""
        engine = self._target.engine
        return 0.0 if engine.prestop_drains else engine.prestop_s

    def _long_enough(self) -> Load:
        """Return the load, its streams as long as they have to be at the target's pace."""
        load = self._load
        tokens, why = chosen(
            self._pace_per_s(),
            self._prestop_s,
            least=load.min_tokens,
            most=self._room,
        )
        self._progress.line(f"streams of {tokens} tokens: {why}")
        return replace(load, max_tokens=tokens)

    def _pace_per_s(self) -> float:
        """Measure the pace of some short streams.

        Raises:
            UserError: None of them says.
        """
        load = replace(
            self._load,
            client=_PACE,
            parts=1,
            max_tokens=PROBE_TOKENS,
            lengths="fixed",
            min_tokens=1,
            arrivals="constant",
            rate_per_s=_PROBES_PER_S,
            duration_s=STREAMS / _PROBES_PER_S,
            settle_s=min(self._load.settle_s, self._plan.steady_s),
        )
        counted = self._steady
        counted.begin()
        with self._progress.step("measure the pace of streams"):
            clients = self._clients = self._made_clients(load, counted.hear, _PACE)
            clients.start()
            clients.wait()
        if counted.bad and not counted.whole:
            raise self._not_served(load)
        if counted.pace_per_s is None:
            words = clients.words()
            raise UserError(
                f"the pace of the target's streams could not be measured: {counted.whole} of "
                f"{STREAMS}, of {PROBE_TOKENS} tokens each, came whole in {load.settle_s:.0f} s"
                + (f": {words}" if words else ""),
                hint="Nothing was done to it. Give the streams' length with --tokens.",
            )
        return counted.pace_per_s

    def _one(self, wanted: Wanted) -> bool:
        """Do one fault; return whether it got to its end."""
        view = self._view
        self._target = again(self._api, self._target)
        self._fault = fault = _made(self._api, self._plan, self._target, wanted)
        view.fault(fault.name, "steady", f"{self._steady.whole} streams came whole")
        self._steady.end()
        fault.beside, fault.quiet = self._beside, self._quiet
        fault.pace_per_s = self._steady.pace_per_s
        with self._progress.step(f"{wanted}", None), self._beside(fault.crowd):
            completed = fault.invoke(self._journal, view, self._check)
        self._steady.begin(since=view.now())
        if completed and fault.cost == ABRUPT:
            self._see_it_recover()
        return completed

    def _see_it_recover(self) -> None:
        """Keep the load on until new requests are served, or one is not that has to be."""
        steady, view, fault = self._steady, self._view, self._fault
        by = fault.struck_at + fault.recover_s
        with self._progress.step("wait until new requests are served"):
            view.wait(
                lambda: steady.recovered or steady.lost_since(by),
                by - view.now() + self._plan.steady_s,
                self._check,
            )

    def _between(self, index: int, wanted: Wanted) -> bool:
        """Take the last fault back, and wait until the next may be done; return whether it may."""
        view, fault, say = self._view, self._fault, self._progress.line
        clean = fault.teardown(self._journal, say)
        view.fault(fault.name, "undone" if clean else "not-undone")
        if not clean:
            raise UserError(f"{fault.name} could not be undone, so {wanted} was not done")
        with self._progress.step("wait for a steady state"):
            settled = view.wait(self._settled, self._plan.steady_s, self._check)
            self._steady.begin(since=view.now())
            steady = settled and view.wait(
                lambda: (
                    self._steady.whole >= STREAMS
                    and self._steady.whole_since(fault.struck_at) > 0
                    and not self._steady.bad
                ),
                self._plan.steady_s,
                self._check,
            )
        view.index = index
        if not steady:
            why = f"no steady state in {self._plan.steady_s:.0f} s after {fault.name}"
            say(f"{why}: {wanted} and what comes after it are not done")
            view.fault(wanted.name, "timeout", why)
        return steady

    def _settled(self) -> bool:
        """Tell whether all of the target's pods serve, and none is about to go."""
        view = self._view
        deployment, endpoints = view.deployment, view.endpoints
        status = deployment.get("status", {})
        wanted = deployment["spec"].get("replicas", 1)
        names = {pod.name for pod in view.ready}
        return (
            status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
            and status.get("updatedReplicas", 0) == wanted
            and len(names) == len(view.pods) == wanted
            and endpoints is not None
            and names <= set(endpoints.ready)
        )

    @contextmanager
    def _beside(self, crowd: Crowd | None) -> Iterator[None]:
        """Let a crowd of short requests come while a fault is on."""
        if crowd is None:
            yield
            return
        begun = threading.Event()
        first = Sent if crowd.users else Stream  # an answer that waits comes late

        def heard(record: Record) -> None:
            self._view.add(record)
            if isinstance(record, first):
                begun.set()

        self._crowds += 1
        name = f"race-{self._view.index}" + (f"-{self._crowds}" if crowd.users else "")
        load = replace(
            self._load,
            client=name,
            parts=1,
            rate_per_s=crowd.rate_per_s,
            max_tokens=crowd.tokens,
            lengths="fixed",
            min_tokens=1,
            arrivals="poisson",
            max_in_flight=crowd.users or self._load.max_in_flight,
            users=crowd.users is not None,
        )
        clients = self._crowd = self._made_clients(load, heard, name)
        clients.start()
        self._view.wait(begun.is_set, self._plan.steady_s, self._check)
        yield
        self._crowd = None  # from here it may end
        clients.stop()
        clients.wait()

    def _first_steady(self) -> None:
        """Wait until whole streams have come.

        Raises:
            UserError: The target doesn't serve them.
        """
        view, counted = self._view, self._steady
        counted.begin()

        def steady() -> bool:
            whole, bad = counted.whole, counted.bad
            if len(bad) >= STREAMS and len(bad) >= whole:
                raise self._not_served(self._load)
            return whole >= STREAMS

        if not view.wait(steady, self._plan.steady_s, self._check):
            raise UserError(
                f"the target completed {counted.whole} streams in {self._plan.steady_s:.0f} s, and "
                f"{STREAMS} are needed to begin",
                hint="Ask for shorter streams (--tokens) or more of them (--rate).",
            )
        self._see_that_streams_outlast()

    def _not_served(self, load: Load) -> UserError:
        bad = self._steady.bad
        return UserError(
            f"the target does not serve streams before the fault: {len(bad)} of "
            f"{self._steady.ended} failed; the last: {bad[-1].outcome}: {bad[-1].detail}",
            hint=f"Nothing was done to it. Does it serve the model {load.model!r} at {load.url}, "
            f"in answers of {load.max_tokens} tokens? Another length is given with --tokens.",
        )

    def _see_that_streams_outlast(self) -> None:
        """See that streams can be in flight when a pod's engine is told to end.

        Raises:
            UserError: They can't, though their length was chosen so: the pace has changed.
        """
        pace_per_s, prestop_s = self._steady.pace_per_s, self._prestop_s
        if pace_per_s is None or prestop_s is None:
            return
        if self._load.max_tokens >= tokens_to_outlast(pace_per_s, prestop_s):
            return
        short = (
            f"streams of {self._load.max_tokens} tokens end within the preStop delay of "
            f"{prestop_s:g} s, so none will be in flight when SIGTERM comes"
        )
        enough = tokens_to_outlast(pace_per_s, prestop_s + MARGIN_S)
        if self._chooses:
            raise UserError(
                f"{short}: they come faster than when their length was chosen, at "
                f"{in_words(pace_per_s)} now",
                hint=f"Nothing was done to the target. Give their length with --tokens {enough}.",
            )
        self._progress.line(f"{short}; ask for --tokens {enough}")

    def _check(self) -> None:
        """Raise if the run can't go on."""
        self._lease.check()
        for clients in filter(None, (self._clients, self._crowd)):
            if clients.ended:
                words = clients.words()
                raise UserError(
                    "the streaming client ended too early" + (f": {words}" if words else "")
                )

    def _clean_up(self, *, interrupted: bool) -> bool:
        self._observer.stop()
        if self._asking:
            self._asking.stop()
        say = self._progress.line
        for clients in filter(None, (self._clients, self._crowd)):
            if isinstance(clients, LocalClients):
                clients.kill()
        try:
            if interrupted and self._journal.entry.changes:
                say("undoing what was changed")
            clean = self._fault.teardown(self._journal, say)
            clean = self._journal.undo(say) and clean
            if clean:
                self._lease.release()
        except UserError as error:
            say(error.message)
            clean = False
        self._view.fault(self._fault.name, "undone" if clean else "not-undone")
        self._view.close()
        return clean


def _prometheus(api: Api, plan: Plan) -> Place:
    """Return where the Prometheus is that faults of scaling ask.

    Raises:
        UserError: There is none, or not one.
    """
    from drainproof.collect.api import Api as Reader  # noqa: PLC0415 - only where it is asked
    from drainproof.collect.prometheus import find  # noqa: PLC0415 - same

    return find(plan.prometheus, Reader(api.client))


def _load(plan: Plan, target: Target, model: str) -> Load:
    until_chosen = {"max_tokens": max(PROBE_TOKENS, plan.load.get("min_tokens", 1))}
    return Load(url=plan.url or target.url, model=model, **{**until_chosen, **plan.load})


def context_of(api: Api, target: Target) -> int | None:
    """Return how many tokens prompt and answer may have: as the engine says, else as its flags do.

    vLLM and SGLang say it. None if neither does, or says a number that is no length.
    """
    pod, port = target.pods[0], target.engine_port
    try:
        said = api.scrape(target.namespace, pod, port, "/v1/models", timeout_s=_ASK_S)
        length = float(orjson.loads(said)["data"][0]["max_model_len"])
    except (ApiError, ValueError, LookupError, TypeError):
        length = target.engine.flag_number(*_CONTEXT) or 0.0
    return int(length) if 0 < length < math.inf else None


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


def _header(
    plan: Plan, target: Target, load: Load, version: str, max_model_len: int | None
) -> Header:
    workload = target.workload
    engine = target.engine
    probe = workload.container.load_probe if workload.container else None
    return Header(
        version=HISTORY_VERSION,
        tool=__version__,
        at=time.time(),
        fault=plan.named,
        target={
            "kind": target.kind,
            "namespace": target.namespace,
            "name": target.name,
            "context": target.context,
            "cluster_version": version,
            "service": target.service,
            "replicas": target.deployment["spec"].get("replicas", 1),
            "grace_period_s": workload.grace_period_s,
            "prestop_s": None if engine.prestop_drains else engine.prestop_s,
            "engine": engine.name,
            "engine_version": engine.version_text,
            "container": engine.container,
            "drain_s": engine.drain_s if engine.drain_s != math.inf else None,
            "load_probe": probe.path.rpartition(".")[2] if probe else "",
            "load_budget_s": probe.budget_s if probe else None,
            "max_model_len": max_model_len,
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

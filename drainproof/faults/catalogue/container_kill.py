"""The fault ``container-kill``: the engine's process dies at once, as of a crash or of no memory.

From inside a container its first process can't be killed: the kernel drops a SIGKILL that comes
from the same process namespace. So on the embedded cluster the kill comes from the node. Elsewhere
it comes through ``exec``, and works where the engine is not the first process, as under an init
process or a shell; and for vLLM's EngineCore, a child of the API server, anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drainproof.errors import UserError
from drainproof.faults.consent import Need
from drainproof.faults.fault import ABRUPT, OnePod, Option, one_of
from drainproof.faults.nodes import nodes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drainproof.faults.api import Object
    from drainproof.streams.history import Pod

ENGINE, CORE = "engine", "engine-core"
_LIST = (
    'for p in /proc/[0-9]*; do while read -r k v; do case "$k" in Name:) n=$v;; PPid:) '
    'echo "${p#/proc/} $v $n"; break;; esac; done < "$p/status"; done 2> /dev/null'
)
"""Prints each process, its parent and its name with nothing but the shell itself."""
_CORE_NAME = "VLLM::EngineCor"
"""As the kernel cuts ``VLLM::EngineCore`` off."""
_INITS = {"sh", "bash", "dash", "ash", "tini", "dumb-init", "docker-init", "catatonit", "s6-svscan"}


class ContainerKill(OnePod):
    """Kill the engine's process in one pod."""

    name = "container-kill"
    cost = ABRUPT
    reason = "killed"
    options: ClassVar[Mapping[str, Option]] = {
        **OnePod.options,
        "process": Option(
            says="engine, or engine-core (vLLM's EngineCore alone)",
            read=one_of(ENGINE, CORE),
            default=ENGINE,
        ),
    }

    def setup(self) -> None:
        """See that the process can be reached.

        Raises:
            UserError: It can't.
        """
        super().setup()
        if self._from_node:
            return
        missing = [
            str(need)
            for need in (Need("create", "Pod", "exec"), Need("get", "Pod", "exec"))
            if not self.api.allowed(need.verb, need.kind, self.target.namespace, need.subresource)
        ]
        if missing:
            raise UserError(f"container-kill takes permission to: {', '.join(missing)}")
        self._process(self.chosen["pod"] or self.target.pods[0])

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        how = "from its node" if self._from_node else "through exec"
        what = self.target.engine.container
        if self.chosen["process"] == CORE:
            what += "'s EngineCore"
        yield f"{self.one} of {self.target}: SIGKILL to container {what}, {how}"

    def act(self) -> str:
        """Kill it, and wait until its container runs and is ready again."""
        victim = self.victim()
        before = self._restarts(victim.uid)
        self.begin(f"{self.chosen['process']} of pod/{victim.name} is killed")
        self.note(victim)
        asked = self.view.now()
        self.strike(victim)
        self.hit([victim.name], asked=asked)

        def again() -> bool:
            pod = self.view.pods.get(victim.uid)
            replaced = pod is None or (pod.ready and self._restarts(victim.uid) > before)
            return replaced and len(self.view.ready) >= self.before

        return self.wait(again, "the engine was not ready again")

    def strike(self, pod: Pod) -> str:
        """Kill it."""
        nodes = nodes_of(self.target.context) if self._from_node else None
        if nodes:
            nodes.kill_container(pod.node, self._container_id(pod.name))
        else:
            number = self._process(pod.name)
            self._exec(pod.name, f"kill -9 {number}", ends=True)
        return ""

    @property
    def _from_node(self) -> bool:
        return bool(self.chosen["process"] == ENGINE and nodes_of(self.target.context))

    def _restarts(self, uid: str) -> int:
        pod = self.view.pods.get(uid)
        found = [
            item["restarts"]
            for item in (pod.containers if pod else ())
            if item["name"] == self.target.engine.container
        ]
        return int(found[0]) if found else 0

    def _container_id(self, pod: str) -> str:
        found: Object = self.api.get("Pod", self.target.namespace, pod)
        for item in found["status"].get("containerStatuses") or []:
            if item["name"] == self.target.engine.container and item.get("containerID"):
                return str(item["containerID"])
        raise UserError(f"pod/{pod} does not say which container its engine runs in")

    def _process(self, pod: str) -> int:
        """Return the id of the process that is to die.

        Raises:
            UserError: There is none, or it can't be killed from inside.
        """
        found: dict[int, tuple[int, str]] = {}
        for line in self._exec(pod, _LIST).splitlines():
            own, parent, name = line.split(" ", 2)
            found[int(own)] = int(parent), name
        if self.chosen["process"] == CORE:
            cores = [one for one, (_, name) in found.items() if name == _CORE_NAME]
            if not cores:
                raise UserError(
                    f"no process of pod/{pod} is called VLLM::EngineCore",
                    hint="Only vLLM with its V1 engine has one. Leave process=engine-core out.",
                )
            return min(cores)
        number = 1
        while found.get(number, (0, ""))[1] in _INITS:
            number = min((one for one, (of, _) in found.items() if of == number), default=0)
        if number == 1:
            raise UserError(
                f"the engine is the first process of container {self.target.engine.container} in "
                f"pod/{pod}, and the kernel keeps such a one from being killed from inside",
                hint="Choose container-kill:process=engine-core (vLLM) or force-delete; on the "
                "embedded cluster the kill comes from the node.",
            )
        if not number:
            raise UserError(f"pod/{pod} has no process under its init process that could be killed")
        return number

    def _exec(self, pod: str, script: str, *, ends: bool = False) -> str:
        container = self.target.engine.container
        command = ["sh", "-c", script]
        return self.api.exec(self.target.namespace, pod, container, command, ends=ends)

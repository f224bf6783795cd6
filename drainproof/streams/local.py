"""Clients on this machine, for targets that it can reach: no cluster, no image, no Job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.streams.listen import Listener
from drainproof.streams.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drainproof.streams.history import Record
    from drainproof.streams.settings import Load

_START_S = 30.0
"""How long a client may take to its first words."""
_GRACE_S = 15.0
"""How much longer than its streams a client may take to end."""


class LocalClients:
    """Clients as processes of their own, so that nothing else of this one delays them.

    Their settings go through their stdin, their records come from their stdout and are followed as
    they come. Secrets are in the environment that they inherit, and nowhere else.

    Args:
        load: What to send; ``load.parts`` processes share it.
        heard: Called for each record, in a follower's thread.
        environ: The environment of the clients.
    """

    def __init__(
        self,
        load: Load,
        heard: Callable[[Record], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._load = load
        self._heard = heard
        self._environ = environ
        self._clients: list[_Client] = []

    @property
    def ended(self) -> bool:
        """Whether one of them will say nothing more."""
        return any(client.ended.is_set() for client in self._clients)

    def start(self) -> None:
        """Start the clients, and return when all run.

        Raises:
            UserError: One can't: a secret's variable is missing, or it ended at once.
        """
        Requests(self._load, self._environ)  # refused here, before anything is started
        for part in range(self._load.parts):
            load = self._load
            if load.parts > 1:
                load = replace(load, part=part, client=str(part))
            self._clients.append(_Client(load, self._heard, self._environ))
        give_up = time.monotonic() + _START_S
        for client in self._clients:
            if not client.begun.wait(max(give_up - time.monotonic(), 0)):
                self.kill()
                raise UserError(f"the streaming client said nothing for {_START_S:.0f} s")
            if client.ended.is_set() and not client.listener.done:
                self.kill()
                words = client.listener.words() or "it said nothing"
                raise UserError(f"the streaming client ended at once: {words}")

    def stop(self) -> None:
        """Ask the clients to send nothing new; streams in flight go on to their end."""
        for client in self._clients:
            client.signal(signal.SIGTERM)

    def wait(self) -> bool:
        """Wait until the clients have said their last words; return whether all of them did."""
        give_up = time.monotonic() + self._load.settle_s + _GRACE_S
        for client in self._clients:
            client.ended.wait(max(give_up - time.monotonic(), 0))
        self.kill()
        return all(client.listener.done for client in self._clients)

    def words(self) -> str:
        """Return what the clients printed last that was no record."""
        return "\n".join(filter(None, (client.listener.words() for client in self._clients)))

    def kill(self) -> None:
        """End what still runs, now."""
        for client in self._clients:
            client.signal(signal.SIGKILL)


class _Client:
    """One process, and the thread that hears it."""

    def __init__(
        self, load: Load, heard: Callable[[Record], None], environ: Mapping[str, str]
    ) -> None:
        self.listener = Listener(time.time(), self._hear)
        self._heard = heard
        self.begun = threading.Event()
        self.ended = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "drainproof.streams", "--config", "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environ),
            # A terminal's Ctrl-C is for the run, which decides when its clients stop.
            start_new_session=True,
        )
        threading.Thread(target=self._follow, args=(load.to_json(),), daemon=True).start()

    def signal(self, number: int) -> None:
        """Send a signal, if the process is still there."""
        if not self.ended.is_set():
            self._process.send_signal(number)

    def _hear(self, record: Record) -> None:
        self._heard(record)
        self.begun.set()

    def _follow(self, settings: bytes) -> None:
        process = self._process
        try:
            with process:
                if process.stdin is None or process.stdout is None:  # for the type checker
                    return
                try:
                    process.stdin.write(settings)
                    process.stdin.close()
                except BrokenPipeError:
                    self.listener.say("it did not read its settings")
                for line in process.stdout:
                    self.listener.line(line)
        finally:
            self.ended.set()
            self.begun.set()

"""What a user may say about a chaos run: one table for the command line, for pytest and for plans.

It is read by every pytest that has drainproof installed, so it imports nothing of weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that may be set."""

    name: str
    """``--NAME`` on a command line, ``NAME`` in a plan."""
    help: str
    metavar: str = ""
    kind: type = str
    """``str``, ``int``, ``float`` or ``bool``."""
    default: Any = None
    many: bool = False
    """May be given several times; a list in a plan."""
    load: str = ""
    """The field of :class:`drainproof.streams.settings.Load` that it sets as it is."""

    @property
    def key(self) -> str:
        """Its name as Python has it."""
        return self.name.replace("-", "_")

    @property
    def told(self) -> str:
        """Its help, with the default."""
        return self.help + (f"  [default: {self.default}]" if self.default is not None else "")


SETTINGS = (
    Setting("service", "Service to send streams through.", "NAME"),
    Setting("port", "The Service's port.", "N", int),
    Setting("tls", "The Service speaks HTTPS.", kind=bool),
    Setting("ca", "Authorities to trust for HTTPS: secret/NAME/KEY or configmap/NAME/KEY in the "
            "target's namespace; with --url a PEM file.", "WHERE"),
    Setting("url", "Send streams from this machine to this URL, not from a Job in the cluster.",
            "URL"),
    Setting("model", "Model to ask for.  [default: the one that is served]", "NAME"),
    Setting("api", "What is spoken: completions, chat or tgi.", "NAME",
            default="completions", load="api"),
    Setting("rate", "Streams begun per second, on average.", "PER_SECOND", float, 0.7,
            load="rate_per_s"),
    Setting("arrivals", "How they come: poisson, constant, ramp or burst.", "NAME",
            default="poisson", load="arrivals"),
    Setting("ramp", "Seconds until a ramp has reached its rate.", "SECONDS", float, 60,
            load="ramp_s"),
    Setting("burst", "How many streams of a burst begin at once.", "N", int, 10, load="burst"),
    Setting("tokens", "Length of each stream.  [default: outlasts the preStop delay, at the pace "
            "that is measured first]", "N", int, load="max_tokens"),
    Setting("lengths", "fixed, or from --min-tokens to --tokens: uniform or exponential.", "NAME",
            default="fixed", load="lengths"),
    Setting("min-tokens", "Least length, where lengths differ.", "N", int, 1, load="min_tokens"),
    Setting("prompts", "Prompts, one a line, or a JSON list.  [default: five built-in ones]",
            "FILE"),
    Setting("seed", "Makes another run's due times and lengths the same.", "N", int, 0,
            load="seed"),
    Setting("clients", "Clients that share the load: pods of an Indexed Job.", "N", int, 1,
            load="parts"),
    Setting("token-secret", "Bearer token, from a Secret in the target's namespace.", "NAME/KEY"),
    Setting("token-env", "Bearer token, from an environment variable; with --url.", "VARIABLE"),
    Setting("header", "Further request header; not for secrets.", "HEADER=VALUE", many=True),
    Setting("header-secret", "Further request header, its value from a Secret.",
            "HEADER=NAME/KEY", many=True),
    Setting("header-env", "Further request header, its value from an environment variable; with "
            "--url.", "HEADER=VARIABLE", many=True),
    Setting("prometheus", "The cluster's Prometheus, which tells of faults of scaling what the "
            "autoscaler's query answers: a URL, NAMESPACE/SERVICE[:PORT], or auto.", "WHERE"),
    Setting("image", "Image of the streaming client.", "IMAGE"),
    Setting("node-selector", "Nodes for the client's pods.", "KEY=VALUE", many=True),
    Setting("client-limit", "Resource limit of the client's pods, such as memory=512Mi.",
            "RESOURCE=QUANTITY", many=True),
    Setting("evidence", "Folder for the evidence.  [default: a new one below evidence/]", "DIR"),
    Setting("fault-timeout", "Seconds that a fault may take.  [default: what the target allows]",
            "SECONDS", float),
    Setting("steady", "Seconds that a steady state may take to come.", "SECONDS", float, 300),
    Setting("after", "Seconds of streams after the last fault.", "SECONDS", float, 10),
)  # fmt: skip
"""All of them."""

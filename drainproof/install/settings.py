"""The settings of an audit on a schedule, checked as they come in."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from drainproof import __version__
from drainproof.errors import UserError

IMAGE = f"drainproof:{__version__}"
"""The image that deploy/Dockerfile makes of this version."""
STALE_AFTER_S = 3 * 3600
"""Seconds without an audit after which an alert fires: three of the default schedule."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVICE = re.compile(r"(?P<namespace>[^/:]+)/(?P<name>[^/:]+)(?::(?P<port>[\w-]+))?")
_IMAGE = re.compile(r"[A-Za-z0-9][\w.:/@-]*")
_CRON = re.compile(r"@(hourly|daily|midnight|weekly|monthly)|[\d*/,-]+( [\d*/,\w?-]+){4}")
_PORT = "9090"


class Service(NamedTuple):
    """A Prometheus that is reached through the API server."""

    namespace: str
    name: str
    port: str


class Url(NamedTuple):
    """A Prometheus that is reached by itself."""

    url: str

    @property
    def namespace(self) -> str:
        """The namespace in a Service's host name; empty if it is no Service's."""
        parts = (urlsplit(self.url).hostname or "").split(".")
        inside = len(parts) == 2 or parts[2:3] == ["svc"]  # noqa: PLR2004 - NAME.NAMESPACE
        return parts[1] if inside and _NAME.fullmatch(parts[1]) else ""

    @property
    def port(self) -> int:
        """Its port."""
        split = urlsplit(self.url)
        return split.port or (443 if split.scheme == "https" else 80)


class Settings(Struct, frozen=True):
    """What ``install audit`` is told."""

    namespace: str = "drainproof"
    """Where the audit itself lives."""
    namespaces: tuple[str, ...] = ()
    """What is audited; empty is all namespaces."""
    schedule: str = "17 * * * *"
    """When, in UTC, as CronJobs have it."""
    image: str = IMAGE
    profile: str = "production"
    prometheus: Service | Url | None = None
    policy_reports: bool = False
    prometheus_operator: bool = False
    api_server: tuple[str, ...] = ()
    """CIDRs of the API server; empty is any address."""
    stale_after_s: int | str = STALE_AFTER_S
    """Seconds; a text stands for a value of the chart."""


def checked(settings: Settings) -> Settings:
    """Return settings that can be written into manifests.

    Raises:
        UserError: One has a form that Kubernetes would refuse, or that means something else.
    """
    for name in (settings.namespace, *settings.namespaces):
        if not _NAME.fullmatch(name):
            raise UserError(f"expected the name of a namespace, found {name!r}")
    if not _CRON.fullmatch(settings.schedule):
        raise UserError(
            f"expected --schedule as a CronJob has it, found {settings.schedule!r}",
            hint="Five fields, such as '17 * * * *' for the 17th minute of each hour, in UTC.",
        )
    if not _IMAGE.fullmatch(settings.image):
        raise UserError(f"expected the name of an image for --image, found {settings.image!r}")
    for cidr in settings.api_server:
        try:
            ipaddress.ip_network(cidr)
        except ValueError as error:
            raise UserError(f"expected a CIDR for --api-server: {error}") from None
    return settings


def prometheus(where: str) -> Service | Url | None:
    """Return where a Prometheus is; None for an empty text.

    Raises:
        UserError: It has another form, or a password in it, or is to be guessed.
    """
    if not where:
        return None
    if where.startswith(("http://", "https://")):
        return _url(where)
    found = _SERVICE.fullmatch(where)
    if found is None or not (_NAME.fullmatch(found[1]) and _NAME.fullmatch(found[2])):
        raise UserError(
            f"expected a URL or NAMESPACE/SERVICE[:PORT] for --prometheus, found {where!r}",
            hint="auto is not possible: what may be asked is named in the audit's permissions.",
        )
    return Service(found["namespace"], found["name"], found["port"] or _PORT)


def _url(where: str) -> Url:
    try:
        split = urlsplit(where)
        host, _ = split.hostname, split.port
    except ValueError as error:
        raise UserError(f"--prometheus is not a URL: {error}") from None
    if not host or not where.isprintable() or " " in where:
        raise UserError("--prometheus is not a URL: expected http://HOST[:PORT]")
    if split.username is not None or split.password is not None:
        raise UserError(
            "--prometheus has a user or a password in it, which would stand in a manifest",
            hint="Name NAMESPACE/SERVICE: it is asked through the API server.",
        )
    return Url(where)

"""A real API server keeps out what the audit calls an error, and takes the policies as written."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drainproof.judge import registry, waivers
from drainproof.judge.profiles import PROFILES
from drainproof.policies import exceptions, mutating, native, reach, write
from drainproof.policies.folder import errors
from tests.e2e.definitions import kyverno_crds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from drainproof.clusters import Cluster
    from drainproof.judge.registry import Check

    Raw = dict[str, Any]

pytestmark = pytest.mark.e2e

PRODUCTION = PROFILES["production"]
RUN = f"admission-{uuid.uuid4().hex[:8]}"
LABEL = "drainproof.dev/e2e-admission"
"""On what is made here; policies hold in namespaces alone that have it, each in its own."""
CARRIED = [check for check in write.enforced() if not native.reason(check)]
LEFT = [check for check in write.enforced() if native.reason(check)]
BUILT_IN = {"", "apps", "batch"}
NEVER_BAD = {"signal-reaches-engine"}
"""What is bad is a stop signal, and a server without that feature gate does not keep it."""
KEPT_OUT = [check for check in CARRIED if check.slug not in NEVER_BAD]
PATIENCE_S = 60
_REFUSED = re.compile(r"ValidatingAdmissionPolicy '\S+' with binding '\S+' denied request: (.*)")
_WARNED = re.compile(r"Warning: Validation failed for \w+ '\S+' with binding '\S+': (.*)")

each_check = pytest.mark.parametrize("check", CARRIED, ids=lambda check: check.slug)


class Server:
    """The API server, which is asked what it would do and does nothing."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def kubectl(self, *arguments: str, text: str = "") -> tuple[str, str]:
        """Return what it prints and what it complains of, whether it fails or not."""
        ran = self._cluster.run(
            [self._cluster.kubectl_bin, *arguments], text_input=text or None, check=False
        )
        return ran.stdout, ran.stderr

    def would_store(self, objects: list[Raw]) -> tuple[list[Raw], str]:
        """Return the objects that would be stored, as they would be, and what is said of others."""
        options = ("--dry-run=server", "--validate=ignore", "-o", "json", "-f", "-")
        items = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        stdout, stderr = self.kubectl("create", *options, text=items)
        return list(documents(stdout)), stderr

    def says(self, obj: Raw) -> Counter[str]:
        """Return what the policies say of an object, in no order; nothing if it is let in."""
        stored, stderr = self.would_store([obj])
        refused, warned = _REFUSED.search(stderr), _WARNED.search(stderr)
        found = refused[1] if refused else warned[1] if warned else ""
        assert bool(stored) == (refused is None), stderr
        return parts(found)


def documents(printed: str) -> Iterator[Raw]:
    """Yield the objects that kubectl printed one after the other."""
    decoder, at = json.JSONDecoder(), 0
    while printed[at:].strip():
        found, at = decoder.raw_decode(printed, at + len(printed[at:]) - len(printed[at:].lstrip()))
        yield found


def parts(message: str) -> Counter[str]:
    return Counter(message.strip().split("; ") if message.strip() else ())


def namespace_of(check: Check) -> str:
    return f"{RUN}-{check.slug}"


def bound(check: Check) -> list[Raw]:
    """Return a check's policy for its own namespace, under a name that nobody else has."""
    settings = write.Settings(
        profile=PRODUCTION, action="Deny", namespaces={LABEL: namespace_of(check)}
    )
    policy, binding = yaml.safe_load_all(native.policy(check, settings))
    for obj in (policy, binding):
        obj["metadata"] |= {"name": namespace_of(check), "labels": {LABEL: RUN}}
    binding["spec"]["policyName"] = namespace_of(check)
    return [policy, binding]


def resources(check: Check) -> list[Raw]:
    """Return the objects of a check's Kyverno test whose kinds every API server knows."""
    texts = ((write.folder() / check.slug / f"{sort}.yaml").read_text() for sort in ("good", "bad"))
    found = [obj for text in texts for obj in yaml.safe_load_all(text)]
    for obj in found:
        obj["metadata"]["namespace"] = namespace_of(check)
    return [obj for obj in found if reach.group_of(obj)[0] in BUILT_IN]


def said_by_audit(check: Check, stored: Raw) -> Counter[str]:
    return parts("; ".join(errors(stored, [check], PRODUCTION)[check.slug]))


class Judged:
    """The objects of each check: as they are written, and as they would be stored."""

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[Raw, Raw]]] = {}

    def learn(self, server: Server, check: Check) -> None:
        """Ask the API server, which has no policy yet, what it would store."""
        written = {(obj["kind"], obj["metadata"]["name"]): obj for obj in resources(check)}
        stored, _ = server.would_store(list(written.values()))
        self._found[check.slug] = [
            (written[obj["kind"], obj["metadata"]["name"]], obj)
            for obj in stored
            if not reach.unseen_replicas(check.slug, obj)
        ]

    def of(self, check: Check) -> list[tuple[Raw, Raw]]:
        return self._found[check.slug]

    def bad(self, check: Check) -> Raw:
        """Return the first object that the audit finds bad, as it is written."""
        return next(written for written, stored in self.of(check) if said_by_audit(check, stored))


@pytest.fixture(scope="module")
def server(embedded: Cluster) -> Server:
    return Server(embedded)


@pytest.fixture(scope="module")
def admission(
    server: Server, eventually: Callable[[Callable[[], bool], float], None]
) -> Iterator[Judged]:
    """Install each policy for a namespace of its own; all is deleted again, whatever happens."""
    judged = Judged()
    spaces = [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {LABEL: label}},
        }
        for name, label in ((namespace_of(check), namespace_of(check)) for check in CARRIED)
    ]
    try:
        apply(server, *spaces)
        last = namespace_of(CARRIED[-1])
        account = ("get", "serviceaccount", "default", "-n", last, "-o", "name")
        eventually(lambda: bool(server.kubectl(*account)[0]), PATIENCE_S)
        for check in CARRIED:
            judged.learn(server, check)
        apply(server, *(obj for check in CARRIED for obj in bound(check)))
        for check in KEPT_OUT:
            eventually(lambda check=check: bool(server.says(judged.bad(check))), PATIENCE_S)  # type: ignore[misc]
        yield judged
    finally:
        kinds = "validatingadmissionpolicybindings,validatingadmissionpolicies"
        server.kubectl("delete", kinds, "-l", f"{LABEL}={RUN}", "--wait=false")
        server.kubectl("delete", "namespaces", "--wait=false", *map(namespace_of, CARRIED))


def apply(server: Server, *objects: Raw) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    stdout, stderr = server.kubectl("apply", "--server-side", "-f", "-", text=text)
    assert len(stdout.splitlines()) == len(objects), stderr


@each_check
def test_the_api_server_says_of_each_object_what_the_audit_says(
    server: Server, admission: Judged, check: Check
) -> None:
    """It keeps bad objects out, or warns where the check only warns, and lets good ones in."""
    names = [
        f"{written['kind']} {written['metadata']['name']}" for written, _ in admission.of(check)
    ]
    found = [server.says(written) for written, _ in admission.of(check)]
    expected = [said_by_audit(check, stored) for _, stored in admission.of(check)]
    assert dict(zip(names, found, strict=True)) == dict(zip(names, expected, strict=True))
    assert {bool(words) for words in expected} == {check in KEPT_OUT, False}


def test_what_fails_is_kept_out_and_what_a_check_only_warns_of_is_not(
    server: Server, admission: Judged
) -> None:
    kept_out = {
        check.slug for check in KEPT_OUT if not server.would_store([admission.bad(check)])[0]
    }
    assert kept_out == {check.slug for check in KEPT_OUT if not write.warns(check)}


@pytest.mark.parametrize(("variables", "judged"), [(400, True), (1000, False)])
def test_a_pod_with_hundreds_of_variables_is_judged_and_one_that_costs_too_much_is_let_in(
    server: Server, admission: Judged, variables: int, *, judged: bool
) -> None:
    """What the API server spends on an expression is limited; docs/policies.md says where."""
    obj = json.loads(json.dumps(admission.bad(CARRIED[0])))
    env = [{"name": f"ONE_{number}", "value": "a" * 40} for number in range(variables // 4)]
    pod = obj["spec"]["template"]["spec"]
    pod["containers"] += [
        {"name": f"beside-{number}", "image": "busybox:1.36", "command": ["sleep", "1"]}
        for number in range(3)
    ]
    for container in pod["containers"]:
        container["env"] = env
    assert bool(server.says(obj)) == judged


def test_other_namespaces_are_left_alone(server: Server, admission: Judged) -> None:
    bad = admission.bad(CARRIED[0])
    elsewhere = {**bad, "metadata": {**bad["metadata"], "namespace": "default"}}
    stored, stderr = server.would_store([elsewhere])
    assert len(stored) == 1, stderr


@pytest.mark.parametrize("check", LEFT, ids=lambda check: check.slug)
def test_the_api_server_refuses_the_rules_that_are_said_to_be_more_than_it_can_carry(
    server: Server, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is 1.35 or newer: then there is no reason any more to leave them out."""
    why = re.search(r"needs (\w+)\(\)", native.reason(check))
    assert why is not None
    monkeypatch.setattr(native, "BEYOND", {})
    policy, _ = bound(check)
    options = ("--dry-run=server", "-f", "-")
    stdout, stderr = server.kubectl("create", *options, text=json.dumps(policy))
    assert stdout == ""
    assert f"undeclared reference to '{why[1]}'" in stderr


@pytest.fixture(scope="module")
def kyverno_is_known(server: Server) -> Iterator[None]:
    """Let the API server know Kyverno's kinds, by Kyverno's own definitions."""
    files = [word for file in kyverno_crds() for word in ("-f", str(file))]
    try:
        stdout, stderr = server.kubectl("apply", "--server-side", *files)
        assert len(stdout.splitlines()) == len(kyverno_crds()), stderr
        server.kubectl("wait", "--for=condition=Established", "--timeout=60s", *files)
        yield
    finally:
        server.kubectl("delete", "--wait=false", *files)


WAIVER = """\
waivers:
  - check: grace-period
    subject: Deployment/inference/batch-*
    reason: "Answers of at most: 100 tokens"
    owner: team-batch
    expires: 2999-01-31
"""


def exported(kind: str, folder: Path) -> str:
    """Return what `drainproof policies` writes of one of Kyverno's kinds."""
    settings = write.Settings(profile=PRODUCTION, action="Deny", namespaces={LABEL: RUN})
    if kind == "PolicyException":
        file = folder / "waivers.yaml"
        file.write_text(WAIVER)
        return exceptions.exceptions(waivers.read(file), registry.load(), "default")[0]
    if kind == "ImageValidatingPolicy":
        return (write.folder() / "examples" / "signed-engines" / "policy.yaml").read_text()
    if kind == "MutatingPolicy":
        chosen = filter(mutating.mends, write.enforced())
        return write.policies(chosen, settings, mutating.policy)
    return write.policies(write.enforced(), settings)


KYVERNOS = ("ValidatingPolicy", "MutatingPolicy", "ImageValidatingPolicy", "PolicyException")


@pytest.mark.parametrize("kind", KYVERNOS)
@pytest.mark.usefixtures("kyverno_is_known")
def test_the_api_server_takes_what_is_exported_for_kyverno(
    server: Server, kind: str, tmp_path: Path
) -> None:
    text = exported(kind, tmp_path)
    objects = list(yaml.safe_load_all(text))
    assert {obj["kind"] for obj in objects} == {kind}
    options = ("--dry-run=server", "--validate=strict", "-o", "json", "-f", "-")
    stdout, stderr = server.kubectl("create", *options, text=text)
    assert stderr == ""
    specs = {obj["metadata"]["name"]: obj["spec"] for obj in documents(stdout)}
    for obj in objects:  # nothing was dropped as unknown; more may be there by default
        stored = specs[obj["metadata"]["name"]]
        for field, value in obj["spec"].items():
            assert holds(stored[field], value), field


def holds(stored: Any, written: Any) -> bool:  # noqa: ANN401 - any part of an object
    """Tell whether what is stored is what was written, with or without more fields."""
    if isinstance(written, dict):
        return all(key in stored and holds(stored[key], value) for key, value in written.items())
    if isinstance(written, list):
        return len(stored) == len(written) and all(map(holds, stored, written))
    return bool(stored == written)


@pytest.mark.usefixtures("kyverno_is_known")
def test_the_api_server_refuses_a_policy_with_a_field_that_kyverno_does_not_know(
    server: Server, tmp_path: Path
) -> None:
    text = exported("MutatingPolicy", tmp_path).replace("  mutations:", "  mutation:")
    options = ("--dry-run=server", "--validate=strict", "-f", "-")
    _, stderr = server.kubectl("create", *options, text=text)
    assert 'unknown field "spec.mutation"' in stderr

"""The embedded cluster is a real Kubernetes, cut off from the world, and goes without a trace."""

from __future__ import annotations

import errno
import json
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from drainproof import clusters
from drainproof.clusters import artefacts, engine, images, recipe, records
from drainproof.clusters.places import engines_folder, state_folder
from drainproof.clusters.versions import versions
from drainproof.progress import NoProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_kind import KindCluster

    from drainproof.clusters import Cluster
    from drainproof.clusters.processes import Process
    from tests.e2e.conftest import Namespace

    Eventually = Callable[[Callable[[], bool], float], None]

pytestmark = pytest.mark.e2e

# Of the addresses set apart for documentation (RFC 5737): nobody has it.
NOBODY = "192.0.2.1"
SERVE = "from http.server import *; HTTPServer(('', 80), SimpleHTTPRequestHandler).serve_forever()"
FETCH = """if True:
    import sys, time, urllib.request
    deadline = time.monotonic() + 60
    while True:
        try:
            print(urllib.request.urlopen(sys.argv[1], timeout=5).status)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
"""


def pod(name: str, code: str, *arguments: str, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    container = {
        "name": "python",
        "image": versions().python_image,
        "command": ["python3", "-c", code, *arguments],
        "workingDir": "/etc",
        **spec.pop("container", {}),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "containers": [container],
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            **spec,
        },
    }


def on(node: str) -> dict[str, dict[str, str]]:
    return {"nodeSelector": {"kubernetes.io/hostname": node}}


@pytest.fixture
def server(cluster: KindCluster, namespace: Namespace) -> str:
    """Serve HTTP from a pod on the worker behind a Service, and return the Service's name."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 80}]},
    }
    namespace.apply(pod("server", SERVE, **on(f"{cluster.name}-worker")), service)
    namespace.wait("pod/server", "condition=Ready")
    return "server"


def test_two_nodes_are_ready(cluster: KindCluster) -> None:
    nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = {
        node["metadata"]["name"]: condition["status"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }
    assert ready == {f"{cluster.name}-control-plane": "True", f"{cluster.name}-worker": "True"}


def test_a_pod_reaches_a_pod_on_the_other_node_by_the_name_of_its_service(
    cluster: KindCluster, namespace: Namespace, server: str
) -> None:
    url = f"http://{server}.{namespace.name}.svc.cluster.local/hostname"
    client = pod("client", FETCH, url, **on(f"{cluster.name}-control-plane"))
    assert namespace.run_to_end(client).strip() == "200"


# pytest-kind kills its kubectl and does not wait for it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_port_is_forwarded_by_pytest_kind(
    cluster: KindCluster, namespace: Namespace, server: str
) -> None:
    # One try: with more, it starts as many, even if the first succeeds.
    service = f"service/{server}"
    with cluster.port_forward(service, 80, "-n", namespace.name, retries=1) as port:
        url = f"http://127.0.0.1:{port}/hostname"
        with urllib.request.urlopen(url, timeout=10) as response:
            assert response.status == 200


def test_a_volume_of_the_default_storage_class_is_bound_and_keeps_what_is_written(
    namespace: Namespace,
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "16Mi"}},
        },
    }
    volume = {
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
        "container": {"volumeMounts": [{"name": "models", "mountPath": "/models"}]},
    }
    namespace.apply(claim)
    write = "open('/models/weights', 'w').write('whole')"
    namespace.run_to_end(pod("writer", write, **json.loads(json.dumps(volume))))
    read = "print(open('/models/weights').read())"
    assert namespace.run_to_end(pod("reader", read, **volume)).strip() == "whole"
    assert "Bound" in namespace.kubectl("get", "pvc", "models", "-o", "jsonpath={.status.phase}")


def test_the_metrics_api_answers_for_nodes_and_pods(
    cluster: KindCluster, eventually: Eventually
) -> None:
    def metrics(kind: str) -> list[dict[str, Any]]:
        path = f"/apis/metrics.k8s.io/v1beta1/{kind}"
        items: list[dict[str, Any]] = json.loads(cluster.kubectl("get", "--raw", path))["items"]
        return items

    eventually(lambda: len(metrics("nodes")) == 2, 90)
    eventually(lambda: len(metrics("pods")) > 2, 90)


def test_what_the_cluster_itself_needs_is_not_lost_with_the_worker(embedded: Cluster) -> None:
    fields = ("-o", "jsonpath={range .items[*]}{.spec.nodeName}{'\\n'}{end}")
    for namespace, label in (
        ("kube-system", "k8s-app=kube-dns"),
        ("kube-system", "k8s-app=metrics-server"),
        ("local-path-storage", "app=local-path-provisioner"),
    ):
        names = embedded.kubectl("get", "pods", "-n", namespace, "-l", label, *fields).split()
        assert names
        assert all(name.endswith("-control-plane") for name in names), names


def test_an_image_made_here_runs_on_both_nodes(
    cluster: KindCluster, embedded: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    (tmp_path / "word").write_text("made here")
    image = images.layered_image(
        "drainproof/e2e", recipe.pod_root(), {"/word": tmp_path / "word"}, images.ImageConfig()
    )
    artefacts.ensure([image.artefact], NoProgress())
    embedded.load_image(image)
    for role in ("control-plane", "worker"):
        reader = pod(role, "print(open('/word').read())", **on(f"{cluster.name}-{role}"))
        reader["spec"]["containers"][0]["image"] = image.name
        assert namespace.run_to_end(reader).strip() == "made here"


def test_pods_see_the_engines_folder_and_can_not_change_it(namespace: Namespace) -> None:
    probe = engines_folder() / f"probe-{namespace.name}"
    probe.write_text("seen")
    try:
        code = f"""if True:
            print(open('/engines/{probe.name}').read())
            try:
                open('/engines/{probe.name}', 'w')
            except OSError as error:
                print(error.errno)
        """
        host_path = {"path": clusters.ENGINES_MOUNT, "type": "Directory"}
        reader = pod(
            "reader",
            code,
            volumes=[{"name": "engines", "hostPath": host_path}],
            container={"volumeMounts": [{"name": "engines", "mountPath": "/engines"}]},
        )
        assert namespace.run_to_end(reader).split() == ["seen", str(errno.EROFS)]
    finally:
        probe.unlink()


@pytest.mark.usefixtures("embedded")
def test_there_is_no_way_out_of_the_clusters_network() -> None:
    routes = Path("/proc/net/route").read_text().splitlines()[1:]
    assert [line for line in routes if line.split()[1] == "00000000"] == []
    with socket.socket() as client, pytest.raises(OSError, match="unreachable") as error:
        client.connect((NOBODY, 80))
    assert error.value.errno == errno.ENETUNREACH


def test_a_pod_that_calls_out_is_told_at_once_that_there_is_no_way(namespace: Namespace) -> None:
    code = f"""if True:
        import socket
        client = socket.socket()
        client.settimeout(20)
        print(client.connect_ex(({NOBODY!r}, 80)))
    """
    told = int(namespace.run_to_end(pod("caller", code)))
    assert told in {errno.ENETUNREACH, errno.EHOSTUNREACH}


def test_the_kubeconfig_is_the_clusters_own_and_closed_to_others(embedded: Cluster) -> None:
    assert embedded.kubeconfig.is_relative_to(state_folder(embedded.name))
    assert stat.S_IMODE(embedded.kubeconfig.stat().st_mode) == 0o600


def test_a_healthy_cluster_is_used_as_it_is(embedded: Cluster) -> None:
    assert clusters.up(embedded.name, progress=NoProgress()) == embedded


def test_the_command_line_runs_programs_in_the_cluster(embedded: Cluster) -> None:
    assert clusters.shell(embedded.name, ["kubectl", "get", "--raw", "/readyz"]) == 0


@pytest.fixture
def other(embedded: Cluster) -> Iterator[str]:
    """Name a second cluster, of which nothing is left in the end."""
    name = f"{embedded.name}-e2e"
    clusters.down(name, progress=NoProgress())
    yield name
    clusters.down(name, progress=NoProgress())


def traces(name: str, network: Path | None = None) -> list[str]:
    """List what there is of a cluster: processes, mounts, cgroups, files."""
    state = state_folder(name)
    found = [str(path) for path in engine.CGROUPS.rglob(engine.cgroup_name(state))]
    found += [str(state)] if state.exists() else []
    found += ["a mount"] if str(state) in Path("/proc/self/mountinfo").read_text() else []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace")
            inside = network is not None and (process / "ns/net").readlink() == network
        except OSError:
            continue
        if str(state) in words or inside:
            found.append(words.replace("\0", " "))
    return found


def test_down_leaves_nothing_of_an_engine_and_its_containers(other: str) -> None:
    recorded: list[Process] = []
    state = state_folder(other)
    state.mkdir(parents=True)

    def record(process: Process) -> None:
        recorded.append(process)
        records.Record(other, process, "", "").save()

    process = engine.start(state, record)
    network = Path(f"/proc/{process.pid}/ns/net").readlink()
    assert recorded == [process]
    assert len(traces(other, network)) > 3
    clusters.down(other, progress=NoProgress())
    assert traces(other, network) == []


def test_down_leaves_nothing_of_an_up_that_was_killed(other: str, eventually: Eventually) -> None:
    code = f"""if True:
        from drainproof import clusters
        from drainproof.progress import NoProgress
        clusters.up({other!r}, progress=NoProgress())
    """
    with subprocess.Popen([sys.executable, "-c", code]) as up:
        eventually(lambda: records.load(other) is not None or up.poll() is not None, 120)
        up.send_signal(signal.SIGKILL)
    record = records.load(other)
    assert record is not None
    assert record.engine is not None
    assert record.engine.alive, "nothing was left to clean up"
    network = Path(f"/proc/{record.engine.pid}/ns/net").readlink()
    clusters.down(other, progress=NoProgress())
    assert traces(other, network) == []

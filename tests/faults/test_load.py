"""Where the clients of a run are placed, and whom they trust."""

from __future__ import annotations

from drainproof.faults.load import Runner
from tests.streams.test_load_job import started


def test_authorities_are_mounted_as_a_file_that_the_client_reads() -> None:
    for kind, volume in (
        ("secret", {"secret": {"secretName": "tls"}}),
        ("configmap", {"configMap": {"name": "tls"}}),
    ):
        job = started(runner=Runner(image="client", ca=(kind, "tls", "ca.crt"))).job
        spec = job["spec"]["template"]["spec"]
        assert spec["volumes"] == [{"name": "ca", **volume}]
        assert spec["containers"][0]["volumeMounts"] == [
            {"name": "ca", "mountPath": "/drainproof/ca.pem", "subPath": "ca.crt"}
        ]


def test_nodes_are_kept_off_one_by_one_as_kubernetes_wants_it() -> None:
    job = started(runner=Runner(image="client", avoids=("a", "b"))).job
    affinity = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchFields"] == [
        {"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in ("a", "b")
    ]


def test_without_either_a_pod_has_no_volume_and_goes_anywhere() -> None:
    spec = started().job["spec"]["template"]["spec"]
    assert "volumes" not in spec
    assert "affinity" not in spec

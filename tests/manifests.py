"""A deployment that passes every check, to change in one place per test."""

from __future__ import annotations

import copy
from typing import Any

Raw = dict[str, Any]

CONTAINER: Raw = {
    "name": "vllm",
    "image": "vllm/vllm-openai:v0.32.0",
    "args": ["--model=meta-llama/Llama-3.1-8B-Instruct", "--shutdown-timeout=120"],
    "ports": [{"name": "http", "containerPort": 8000}],
    "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "32Gi"}},
    "startupProbe": {
        "httpGet": {"path": "/health", "port": "http"},
        "periodSeconds": 10,
        "failureThreshold": 60,
    },
    "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}},
    "lifecycle": {"preStop": {"sleep": {"seconds": 15}}},
    "volumeMounts": [{"name": "dshm", "mountPath": "/dev/shm"}],
}


def deployment(**container: object) -> Raw:
    """Return the deployment; ``container`` replaces fields of the engine's container."""
    engine = {**copy.deepcopy(CONTAINER), **container}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {
            "replicas": 2,
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": "llama"}},
                "spec": {
                    "terminationGracePeriodSeconds": 160,
                    "containers": [
                        {key: value for key, value in engine.items() if value is not None}
                    ],
                    "volumes": [
                        {"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}
                    ],
                },
            },
        },
    }


def scaled_object(target: str = "llama", *, namespace: str = "inference", **spec: object) -> Raw:
    """Return a ScaledObject on the engine's queue; ``spec`` replaces fields of its spec."""
    query = 'sum(vllm:num_requests_waiting{namespace="inference"})'
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": target, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": target},
            "minReplicaCount": 2,
            "maxReplicaCount": 3,
            "triggers": [{"type": "prometheus", "metadata": {"query": query, "threshold": "5"}}],
            **spec,
        },
    }


def service(*, selector: Raw | None = None, namespace: str = "inference") -> Raw:
    """Return a Service that selects the deployment's pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "llama", "namespace": namespace},
        "spec": {"selector": selector or {"app": "llama"}, "ports": [{"port": 80}]},
    }

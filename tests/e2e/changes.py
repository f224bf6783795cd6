"""A run that makes every kind of change there is, and is killed with all of them made."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from drainproof.collect.connect import connect
from drainproof.faults.api import Api
from drainproof.faults.journal import RUN_LABEL, VERSION, Entry, Journal
from drainproof.faults.lease import Lease
from drainproof.faults.undo import (
    MANAGED,
    annotation,
    cordon,
    created,
    find_scalers,
    hold,
    label,
    replica_sets,
    replicas,
    runs_pods,
    template,
)

RUN = "every-change"


def main() -> None:
    context, namespace, node, folder = sys.argv[1:]
    api = Api(connect(context))
    target = "deployment/sim"
    lease = Lease(api, namespace, target, RUN, restore="")
    lease.take()
    entry = Entry(
        version=VERSION,
        run=RUN,
        context=context,
        namespace=namespace,
        target=target,
        lease=lease.name,
        created=time.time(),
    )
    journal = Journal(api, Path(folder), entry)
    journal.open()
    pod = api.list("Pod", namespace, labels="app=sim")["items"][0]
    journal.make(label(pod, "app", None, kind="Pod"))  # no one's now, so nothing deletes it
    name = "drainproof-every-change"
    meta = {"name": name, "labels": {**MANAGED, RUN_LABEL: RUN}}
    budget = {"metadata": meta, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {}}}}
    journal.plan(created("PodDisruptionBudget", name))
    api.create("PodDisruptionBudget", namespace, budget)

    scalers = find_scalers(api, namespace, "Deployment", "sim")
    stored = journal.make(replicas(api.get("Deployment", namespace, "sim"), 1))
    for scaler in scalers:
        journal.make(hold(scaler, 1))
    (origin,) = filter(runs_pods, replica_sets(api, namespace, stored["metadata"]["uid"]))
    container = stored["spec"]["template"]["spec"]["containers"][0]
    args = [*container["args"][:-1], "--load-time=2", "--token-rate=4"]
    uid = origin["metadata"]["uid"]
    env = {"LOUD": "yes"}
    stored = journal.make(template(stored, container["name"], uid, args=args, env=env))
    journal.make(annotation(stored, "drainproof.dev/seen", "yes"))
    journal.make(cordon(api.get("Node", "", node)))
    journal.make(label(api.get("Node", "", node), "drainproof.dev/victim", "yes"))
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()

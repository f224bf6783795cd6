"""One M/M/c queue in Ciw, for an environment of its own: requests, mean wait and CPU time."""

from __future__ import annotations

import json
import sys
import time

import ciw


def main() -> None:
    """Run the queue that the command line asks for: places, rate, mean length, duration, seed."""
    places, seed = int(sys.argv[1]), int(sys.argv[5])
    rate, length_s, duration_s = (float(word) for word in sys.argv[2:5])
    begun = time.process_time()
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rate=rate)],
        service_distributions=[ciw.dists.Exponential(rate=1 / length_s)],
        number_of_servers=[places],
    )
    ciw.seed(seed)
    queue = ciw.Simulation(network)
    queue.simulate_until_max_time(duration_s)
    records = queue.get_all_records()
    took_s = time.process_time() - begun
    mean = sum(one.waiting_time for one in records) / len(records)
    print(json.dumps({"requests": len(records), "mean_wait_s": mean, "cpu_s": took_s}))


if __name__ == "__main__":
    main()

"""Predicts replicas and queue over time from an autoscaler's policy, a cold start and arrivals.

``hpa.py`` and ``keda.py`` are the formulas of the two controllers, ``fleet.py`` the replicas and
their queues, ``run.py`` puts them on one clock.
"""

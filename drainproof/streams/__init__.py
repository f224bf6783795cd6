"""Streaming load: when requests are due, the client that sends them, and the History it leaves."""

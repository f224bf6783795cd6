"""Readers that turn files and live clusters into a Snapshot."""

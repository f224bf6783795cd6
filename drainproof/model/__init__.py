"""Typed, read-only views of what a check wants to ask about."""

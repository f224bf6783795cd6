"""The examples at the end of a command's ``--help``; a test parses each as the command would."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Return an epilog for click: each line is a command as people type it."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)

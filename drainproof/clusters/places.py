"""Where the embedded cluster keeps its files: what can be built again, and what is running."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of everything that can be built or downloaded again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "drainproof"


def state_folder(cluster: str) -> Path:
    """Return the folder of one running cluster; ``down`` removes it."""
    return clusters_folder() / cluster


def clusters_folder() -> Path:
    """Return the folder that has one folder for each running cluster."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "drainproof" / "clusters"


def engines_folder() -> Path:
    """Return the folder of engines and models that nodes see at ``/drainproof/engines``."""
    return cache_folder() / "engines"

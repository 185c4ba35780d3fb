"""What this process may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path

MAX_THREADS = 8
_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Return the cores that this process may run on: the affinity mask and the cgroup's quota, whichever is less."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        cores = os.cpu_count() or 1
    try:
        quota, period = _CGROUP_CPU.read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return max(1, cores)


def default_threads() -> int:
    """Return the number of scoring threads to use: one a core, at most 8."""
    return min(MAX_THREADS, usable_cores())

"""What this process may use of the machine."""

from __future__ import annotations

import os
from pathlib import Path

MAX_THREADS = 8
_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the cores that this process may run on: the affinity mask and the cgroup's quota, whichever is less."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        cores = os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, int(quota)) if quota else cores)


def default_threads() -> int:
    """Return the number of scoring threads to use: one a core, at most 8."""
    return min(MAX_THREADS, usable_cores())


def _cgroup_quota() -> float | None:
    """Return the cores that a container is limited to, or None without a limit."""
    try:
        if (_CGROUP / "cpu.max").is_file():
            quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()
        else:  # version 1
            quota = (_CGROUP / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (_CGROUP / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii")
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None

"""What every result file says of where it was made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any


def made_with(*packages: str) -> dict[str, Any]:
    """Return the machine, and the versions of these packages."""
    machine = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return {"machine": machine, "versions": {name: version(name) for name in packages}}

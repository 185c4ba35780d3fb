"""What a machine offers to an embedder, as plain data: measured here, or described by hand in a test."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from semantic_ranker._machine import usable_cores

_MEGA = 1_000_000
_CGROUP = Path("/sys/fs/cgroup")
_CPU_INFO = Path("/proc/cpuinfo")
_MEMORY_INFO = Path("/proc/meminfo")
_ADVISED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimddp", "i8mm", "f16c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What decides which precision runs best.

    Attributes:
        architecture: Such as ``x86_64`` or ``aarch64``.
        cpu_flags: Of the instructions that matter here, those that the CPU has.
        cores: That this process may use.
        available_mb: Free memory in megabytes; None where unknown.
        limit_mb: What is left of the container's memory limit, in megabytes; None without one.
        gpu: Name of the first GPU that torch can use, or "".
        gpu_free_mb: Its free memory in megabytes.
    """

    architecture: str = "x86_64"
    cpu_flags: frozenset[str] = frozenset()
    cores: int = 1
    available_mb: float | None = None
    limit_mb: float | None = None
    gpu: str = ""
    gpu_free_mb: float = 0.0

    @property
    def memory_mb(self) -> float | None:
        """Memory that a model may take, in megabytes: the free memory or the container's, whichever is less."""
        known = [value for value in (self.available_mb, self.limit_mb) if value is not None]
        return min(known, default=None)

    @property
    def has_int8_instructions(self) -> bool:
        """Whether the CPU multiplies 8-bit numbers at once (VNNI, AMX, Arm's dot product)."""
        return bool(self.cpu_flags & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})

    @property
    def has_wide_vectors(self) -> bool:
        """Whether the CPU has the instructions that an int8 graph needs to be as fast as a float one."""
        return self.has_int8_instructions or bool(self.cpu_flags & {"avx2", "avx512f"})

    @classmethod
    def here(cls, *, gpu: bool = False) -> Self:
        """Describe this machine.

        Args:
            gpu: Whether to look for a GPU too, which imports torch.
        """
        name, free = _gpu() if gpu else ("", 0.0)
        return cls(
            architecture=platform.machine().lower(),
            cpu_flags=_flags(),
            cores=usable_cores(),
            available_mb=_available_mb(),
            limit_mb=_limit_mb(),
            gpu=name,
            gpu_free_mb=free,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return {**asdict(self), "cpu_flags": sorted(self.cpu_flags)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote."""
        return cls(**{**values, "cpu_flags": frozenset(values.get("cpu_flags", ()))})


def _flags() -> frozenset[str]:
    try:
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no Linux; every x86-64 Mac and current Windows machine has AVX2, every Apple CPU has asimddp
        return frozenset({"asimddp"} if platform.machine().lower() in ("arm64", "aarch64") else {"avx2"})
    lines = [line for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    found = set(lines[0].partition(":")[2].split()) if lines else set()
    return frozenset(found & set(_ADVISED_FLAGS))


def _available_mb() -> float | None:
    try:
        lines = _MEMORY_INFO.read_text(encoding="ascii", errors="replace").splitlines()
        found = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(found.split()[1]) * 1024 / _MEGA
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _limit_mb() -> float | None:
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most, now = (int((_CGROUP / name).read_text(encoding="ascii")) for name in (limit, used))
        except (OSError, ValueError):  # no such file, or "max"
            continue
        # Version 1 says "no limit" with a number near 2**63.
        return None if most > 1 << 60 else max(0, most - now) / _MEGA
    return None


def _gpu() -> tuple[str, float]:
    try:
        from semantic_ranker.backends.torch_embedder import first_gpu
    except ModuleNotFoundError:
        return "", 0.0
    return first_gpu()

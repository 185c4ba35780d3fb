"""Which weights to run on which machine, decided by rules that say why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from semantic_ranker.embedding.machine import Machine
from semantic_ranker.errors import InvalidInputError

RunPrecision = Literal["fp32", "fp16", "int8"]
PRECISIONS = ("fp32", "fp16", "int8")
_BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0}
# The weights, ONNX Runtime's own copy of some, and the activations of the longest text.
_MEMORY_FACTOR = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionDecision:
    """Which precision was chosen, and why; kept in an index's manifest, so that another host does not choose again.

    Attributes:
        precision: The chosen one.
        device: ``cpu`` or ``cuda``.
        reasons: What decided, in words.
        chosen_by: ``machine``, ``caller`` or ``manifest``.
        machine: What the rules looked at; empty where the caller chose.
    """

    precision: RunPrecision
    device: Literal["cpu", "cuda"] = "cpu"
    reasons: tuple[str, ...] = ()
    chosen_by: Literal["machine", "caller", "manifest"] = "machine"
    machine: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return {
            "precision": self.precision,
            "device": self.device,
            "reasons": list(self.reasons),
            "chosen_by": self.chosen_by,
            "machine": dict(self.machine) if self.machine is not None else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote, as the choice of a manifest.

        Raises:
            InvalidInputError: It is no decision.
        """
        precision, device = values.get("precision"), values.get("device", "cpu")
        if precision not in PRECISIONS or device not in ("cpu", "cuda"):
            raise InvalidInputError(
                f"Expected a precision out of {', '.join(PRECISIONS)} on cpu or cuda, got {precision!r} on {device!r}."
            )
        reasons = tuple(str(reason) for reason in values.get("reasons", ()))
        return cls(
            precision=precision, device=device, reasons=reasons, chosen_by="manifest", machine=values.get("machine")
        )


def decide(
    available: Sequence[str],
    machine: Machine,
    *,
    megabytes: float | None = None,
    canary_cosine: Mapping[str, float] | None = None,
    floor: float = 0.0,
) -> PrecisionDecision:
    """Choose a precision for a machine.

    Args:
        available: Precisions that the model's folder has.
        machine: What it is to run on.
        megabytes: Size of the fp32 weights; None where unknown.
        canary_cosine: Measured least cosine to fp32 of the probe texts, by precision.
        floor: Least such cosine with which a smaller precision is still taken.

    Raises:
        InvalidInputError: Nothing is available.
    """
    there = [precision for precision in PRECISIONS if precision in available]
    if not there:
        raise InvalidInputError("Expected at least one precision to choose from, got none.")
    refused = _below_floor(there, canary_cosine or {}, floor)
    kept = [precision for precision in there if precision not in refused]
    precision, device, reason = _rule(kept or there, machine, megabytes)
    return PrecisionDecision(
        precision=precision,  # type: ignore[arg-type]
        device=device,
        reasons=(*refused.values(), reason),
        machine=machine.to_dict(),
    )


def _below_floor(there: Sequence[str], cosines: Mapping[str, float], floor: float) -> dict[str, str]:
    return {
        precision: f"{precision} left out: probe texts reach cosine {cosines[precision]:.4f} to fp32, floor {floor}"
        for precision in there
        if precision != "fp32" and "fp32" in there and cosines.get(precision, 1.0) < floor
    }


def _rule(there: Sequence[str], machine: Machine, megabytes: float | None) -> tuple[str, Literal["cpu", "cuda"], str]:
    if machine.gpu and (megabytes is None or megabytes * _MEMORY_FACTOR / 2 <= machine.gpu_free_mb):
        best = "fp16" if "fp16" in there or "fp32" in there else "int8"
        if best == "fp16":
            return "fp16", "cuda", f"a GPU ({machine.gpu}) with {machine.gpu_free_mb:.0f} MB free runs fp16"
    if len(there) == 1:
        return there[0], "cpu", f"{there[0]} is all there is"
    memory = machine.memory_mb
    if memory is not None and megabytes is not None and "int8" in there and megabytes * _MEMORY_FACTOR > memory:
        need = megabytes * _MEMORY_FACTOR
        return "int8", "cpu", f"fp32 needs about {need:.0f} MB and {memory:.0f} MB are free"
    if "int8" in there and machine.has_int8_instructions:
        return "int8", "cpu", "the CPU multiplies 8-bit numbers at once"
    if "int8" in there and machine.has_wide_vectors:
        return "int8", "cpu", "int8 is no slower than fp32 with AVX2 (measured) and takes a quarter of the memory"
    choice = "fp32" if "fp32" in there else there[0]
    return choice, "cpu", f"{choice}: the CPU has no instructions that make a smaller precision worth its loss"

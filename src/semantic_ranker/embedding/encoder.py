"""The ways to run a bi-encoder's folder: which precision, on what, each with the space that it gives."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from semantic_ranker._extras import requires_extra
from semantic_ranker.conversion.embedder import is_convertible
from semantic_ranker.embedding import sources
from semantic_ranker.embedding.backend import OpenedBackend, TextBackend
from semantic_ranker.embedding.decision import PrecisionDecision, decide
from semantic_ranker.embedding.folder import EmbedderFolder
from semantic_ranker.embedding.ladder import Rung
from semantic_ranker.embedding.machine import Machine
from semantic_ranker.embedding.onnx import OnnxEmbedder
from semantic_ranker.embedding.texts import TextTokenizer
from semantic_ranker.errors import InvalidInputError, ModelLoadError
from semantic_ranker.model_folder import Precision, sha256
from semantic_ranker.spaces import EmbeddingSpace

if TYPE_CHECKING:
    from semantic_ranker.embedding.options import EmbedderOptions
    from semantic_ranker.embedding.sources import Source

logger = logging.getLogger(__name__)
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Encoder:
    """A bi-encoder's folder with what the caller asked of it."""

    source: Source
    folder: EmbedderFolder
    options: EmbedderOptions

    def ways(self, machine: Machine | None) -> tuple[list[Rung], PrecisionDecision]:
        """Return the rungs from the chosen precision up, then torch."""
        onnx = self if self._precisions() or self.options.backend == "torch" else self._exported()
        if onnx is not self:
            return onnx.ways(machine)
        if self.options.backend != "torch" and not self._precisions() and not self._can_torch:
            self.folder.files.weights(self.options.precision)  # says what there is, and what to do
        decision = self._decide(machine)
        self._check_asked(decision)
        rungs = self._rungs(decision)
        return rungs if self.options.fallback else rungs[:1], decision

    def _check_asked(self, decision: PrecisionDecision) -> None:
        """Refuse a precision that was asked for and is not there: another one is another choice, not a fallback."""
        runs_in_torch = decision.precision == "fp32" or decision.device == "cuda"
        if self.options.backend != "torch" and self.folder.has(decision.precision):
            return
        if self.options.backend == "onnx" or not (self._can_torch and runs_in_torch):
            self.folder.files.weights(decision.precision)
            raise ModelLoadError(
                f"Expected fp32 on a CPU, or fp16 on a GPU, with backend='torch', got {decision.precision!r}."
            )

    @property
    def _can_torch(self) -> bool:
        return self.options.backend != "onnx" and self.folder.has_safetensors and sources.has_package("torch")

    def _precisions(self) -> tuple[Precision, ...]:
        kinds: tuple[Precision, ...] = ("int8", "fp32", "fp16")
        return tuple(kind for kind in kinds if self.folder.has(kind))

    def _exported(self) -> Encoder:
        """Return the model's ONNX export if there is one, or can be; itself where only torch can run it."""
        wanted = self.options.backend == "onnx" or sources.has_package("semantic_ranker_training")
        if not self.folder.has_safetensors or not (wanted or is_convertible(self.folder)):
            return self
        path = self.folder.files.path
        try:
            target = sources.export_once(path, self.folder.settings.name, self.folder.weights_sha256())
        except (ModuleNotFoundError, AttributeError) as error:
            if not self._can_torch:
                raise
            logger.info("%s runs in torch: %s", self.folder.settings.name, error)
            return replace(self, options=replace(self.options, backend="torch"))
        return Encoder(self.source, EmbedderFolder.open(target), self.options)

    def _decide(self, machine: Machine | None) -> PrecisionDecision:
        options = self.options
        device: Literal["cpu", "cuda"] = "cuda" if options.device == "cuda" else "cpu"
        if options.decision is not None:
            return options.decision
        if options.precision != "auto":
            return PrecisionDecision(
                precision=options.precision, device=device, reasons=("asked for",), chosen_by="caller"
            )
        if options.backend == "torch" and options.device == "cpu":
            return PrecisionDecision(precision="fp32", reasons=("torch runs fp32 on a CPU",))
        machine = machine or Machine.here(gpu=options.backend == "torch" or options.device == "cuda")
        spec = self.source.spec
        decision = decide(
            (self._precisions() if options.backend != "torch" else ()) or ("fp32",),
            machine,
            megabytes=spec.megabytes.get("fp32") if spec else None,
            canary_cosine=self._measured(),
            floor=options.floor,
        )
        logger.info(
            "%s: %s on %s (%s)", self.folder.settings.name, decision.precision, decision.device, decision.reasons
        )
        return decision

    def _measured(self) -> dict[str, float]:
        """Return what the export measured of int8, from the manifest."""
        parity = (self.folder.files.manifest or {}).get("parity")
        found = parity.get("int8_min_cosine") if isinstance(parity, dict) else None
        return {"int8": float(found)} if isinstance(found, (int, float)) else {}

    def _rungs(self, decision: PrecisionDecision) -> list[Rung]:
        torch = self._can_torch
        rungs: list[Rung] = []
        if torch and decision.device == "cuda":
            rungs.append(
                Rung(f"torch {decision.precision} cuda", functools.partial(self._torch, decision.precision, "cuda"))
            )
        if self.options.backend != "torch":
            order: tuple[Precision, ...] = ("int8", "fp16", "fp32")
            first = decision.precision if decision.device == "cpu" else "int8"
            for precision in order[order.index(first) :]:
                if self.folder.has(precision):
                    rungs.append(Rung(f"onnx {precision}", functools.partial(self._onnx, precision)))
        if torch:
            rungs.append(Rung("torch fp32", functools.partial(self._torch, "fp32", "cpu")))
        return rungs

    def _onnx(self, precision: Precision) -> OpenedBackend:
        name, _ = self.folder.files.weights(precision)
        file = self.folder.files.read(name)
        tokenizer, digest = self._tokenizer()
        backend = OnnxEmbedder(
            file,
            tokenizer,
            self.folder.settings,
            precision=precision,
            threads=self.options.threads,
            token_budget=self.options.token_budget,
        )
        return self._opened(backend, backend.dim, digest, graph=file.sha256)

    def _torch(self, precision: Precision, device: str) -> OpenedBackend:
        with requires_extra("torch"):
            from semantic_ranker.backends.torch_embedder import TorchEmbedder
        for name in (_WEIGHTS, *(f"{path}/{_WEIGHTS}" for path in self.folder.settings.dense)):
            self.folder.files.read(name)  # verifies; torch then reads the folder itself
        tokenizer, digest = self._tokenizer()
        backend = TorchEmbedder(
            self.folder.files.path, tokenizer, self.folder.settings, device=device, precision=precision
        )
        return self._opened(backend, backend.dim, digest)

    def _tokenizer(self) -> tuple[TextTokenizer, str]:
        settings = self.folder.settings
        max_length = self.options.max_length or settings.max_length
        if max_length > settings.length_limit:
            raise InvalidInputError(
                f"Expected max_length of at most {settings.length_limit}, which is what {settings.name} can read, "
                f"got {max_length}."
            )
        file = self.folder.files.read("tokenizer.json")
        return TextTokenizer(file.content, max_length=max_length, lower_case=settings.lower_case), file.sha256

    def _opened(self, backend: TextBackend, dim: int, tokenizer: str, *, graph: str = "") -> OpenedBackend:
        settings, spec = self.folder.settings, self.source.spec
        weights = self._weights() or graph
        space = EmbeddingSpace(
            model=settings.name,
            weights=weights,
            tokenizer=tokenizer,
            dim=dim,
            backend=backend.name,
            precision=backend.precision,
            graph=graph if graph != weights else "",
            pooling="+".join((*settings.pooling, *(["dense"] if settings.dense else []))),
            normalize=settings.normalize,
            max_length=self.options.max_length or settings.max_length,
            query_prompt=settings.query_prompt or (spec.query_prompt if spec else ""),
            document_prompt=settings.document_prompt or (spec.document_prompt if spec else ""),
        )
        return OpenedBackend(backend, self.options.applied_to(space, self._trained_for()))

    def _trained_for(self) -> tuple[int, ...]:
        return self.folder.settings.matryoshka or self.source.dimensions

    def _weights(self) -> str:
        """Return the hash that all precisions of the model share: of the safetensors, else of the fp32 graph."""
        files = self.folder.files
        listed = (files.manifest or {}).get("weights_sha256")
        if isinstance(listed, str) and listed:
            return listed
        if self.folder.settings.dense and self.folder.has_safetensors:
            return self.folder.weights_sha256()
        for name in (_WEIGHTS, *(files.weights("fp32")[:1] if self.folder.has("fp32") else ())):
            entry = (files.manifest or {}).get("files", {}).get(name)
            if isinstance(entry, dict) and isinstance(entry.get("sha256"), str):
                return str(entry["sha256"])
            if (files.path / name).is_file():
                stat = (files.path / name).stat()
                return _hash_of(files.path / name, stat.st_mtime_ns, stat.st_size)
        return ""


@functools.lru_cache(maxsize=16)
def _hash_of(path: Path, modified_ns: int, size: int) -> str:
    return sha256(path.read_bytes())

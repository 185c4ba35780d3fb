"""ONNX Runtime on the CPU: one session, one thread a run, any number of runs at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semantic_ranker.errors import ModelLoadError, ScoreCountError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxBackend:
    """Runs a graph with int64 inputs ``input_ids``, ``attention_mask`` and, where it has them, ``token_type_ids``.

    Args:
        path: The ``.onnx`` file. External data is refused.
        precision: What the file holds, for reports.
        content: The file's bytes where the caller has read (and verified) them already.

    Raises:
        ModelLoadError: The file is absent, damaged, or not a one-label reranker.
    """

    name = "onnx"

    def __init__(self, path: str | Path, *, precision: str = "fp32", content: bytes | None = None) -> None:
        self.precision = precision
        self._path = Path(path)
        self._session = open_session(self._path, content)
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._check_inputs()
        self._check_output()

    def _check_inputs(self) -> None:
        found = {node.name: node.type for node in self._session.get_inputs()}
        required = {"input_ids", "attention_mask"}
        if not required <= set(found) <= set(_INPUTS) or any(kind != "tensor(int64)" for kind in found.values()):
            got = ", ".join(f"{name}: {kind}" for name, kind in found.items()) or "none"
            raise ModelLoadError(
                f"Expected the inputs {', '.join(_INPUTS)} (the last may be absent), each tensor(int64), "
                f"in {self._path.name}, got {got}: this is not a text reranker's graph."
            )

    def _check_output(self) -> None:
        shape = self._session.get_outputs()[0].shape
        if any(not isinstance(size, int) for size in shape[1:]):
            # A shape that the graph does not state is read off one run of two short rows.
            ids = np.ones((2, 4), dtype=np.int64)
            try:
                shape = ["batch", *np.shape(self._run(ids, ids, np.zeros_like(ids)))[1:]]
            except Exception as error:  # onnxruntime raises a dozen unrelated classes here
                raise ModelLoadError(f"{self._path.name} fails on a small input ({_reason(error)}).") from error
        if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
            raise ModelLoadError(
                f"Expected logits of shape (batch, 1) from {self._path.name}, got ({', '.join(map(str, shape))}): "
                "this is a classifier or an encoder; a reranker is exported with num_labels=1."
            )

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return logits, float32 (batch,), from three int64 (batch, length) arrays.

        Raises:
            ScoreCountError: The graph gave another number of logits than rows.
        """
        output = self._run(input_ids, attention_mask, token_type_ids)
        logits: NDArray[np.float32] = np.asarray(output, dtype=np.float32).reshape(-1)
        if len(logits) != len(input_ids):
            raise ScoreCountError(
                f"Expected {len(input_ids)} logits from {self._path.name}, got {len(logits)} "
                f"(output shape {np.shape(output)}): the export is damaged; export the model again."
            )
        return logits

    def _run(self, *arrays: NDArray[np.int64]) -> Any:
        feeds = dict(zip(_INPUTS, arrays, strict=True))
        return self._session.run(None, {name: feeds[name] for name in self._inputs})[0]


def open_session(path: Path, content: bytes | None) -> Any:
    """Open a graph for single-threaded runs.

    Args:
        path: The file.
        content: Its bytes where the caller has read (and verified) them already.

    Raises:
        ModelLoadError: It is absent, damaged, or not self-contained.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Parallelism comes from running pairs side by side: measured faster than threads inside one run.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        # From bytes, a graph has no folder from which it could read external data.
        content = path.read_bytes() if content is None else content
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise ModelLoadError(f"Cannot read {path.name}: {error.strerror}.") from error
    except Exception as error:  # onnxruntime raises a dozen unrelated classes here
        raise ModelLoadError(
            f"ONNX Runtime cannot open {path.name} ({_reason(error)}); the file must be one complete graph without "
            "external data: export it again with `semantic-ranker export`."
        ) from error
    if hasattr(session, "_model_bytes"):
        # Kept for a second try with other providers, and as large as the weights that the session has packed already.
        session._model_bytes = None
    return session


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

"""float16 weights: half the file of float32, equal speed, a difference of some 1e-3 of a logit.

Only weights are float16; the arithmetic stays float32, since CPUs have no float16 kernels for these operators and
would convert around each. onnxruntime widens the weights once, when it opens the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

_LEAST_SIZE = 1024
_LARGEST = float(np.finfo(np.float16).max)


def write_fp16(graph: Path, out: Path) -> None:
    """Write a float32 graph with its large weights in float16; one with a value beyond float16 stays float32.

    Args:
        graph: A float32 ``.onnx`` file.
        out: File to write.
    """
    model = onnx.load(graph)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _LEAST_SIZE:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > _LARGEST:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])
    out.write_bytes(model.SerializeToString())

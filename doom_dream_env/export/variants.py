"""Smaller files of a graph, and how far each is from the float32 one.

* float16: weights are stored in half precision and computed with in single precision. Shipped weights are of half
  precision already, so nothing is lost.
* int8: dynamic quantisation of ONNX Runtime: weights and activations of matrix products are of 8 bits.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from onnx import ModelProto

SMALLEST = 256  # numbers; a weight of fewer stays as it is
Arrays = dict[str, npt.NDArray]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters print their progress and warn of their own libraries; errors are raised all the same."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def float32(model: ModelProto) -> bytes:
    """The graph as it was traced."""
    return model.SerializeToString()


def float16(model: ModelProto) -> bytes:
    """The same graph with its weights stored in half precision; a `Cast` in front of each use widens them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    casts = []
    for tensor in halved.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values[np.isfinite(values)]).max(initial=0) > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], f"{name}.widen", to=TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    return halved.SerializeToString()


def int8(model: ModelProto) -> bytes:
    """Matrix products of 8 bits, one scale for each output channel; what is not a matrix product as in `float16`."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder, "whole.onnx"), Path(folder, "small.onnx")
        whole.write_bytes(model.SerializeToString())
        with quiet():
            quantize_dynamic(
                whole, small, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8
            )
        return float16(onnx.load(small))


VARIANTS: dict[str, Callable[[ModelProto], bytes]] = {"float32": float32, "float16": float16, "int8": int8}


class Runner:
    """A graph in ONNX Runtime on one thread; called with arrays by name, it returns arrays by name."""

    def __init__(self, graph: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._outputs = [one.name for one in self._session.get_outputs()]

    def __call__(self, values: Mapping[str, npt.NDArray]) -> Arrays:
        """Run the graph; values that it does not take are left aside."""
        results = self._session.run(self._outputs, {name: np.asarray(values[name]) for name in self._inputs})
        return dict(zip(self._outputs, results, strict=True))

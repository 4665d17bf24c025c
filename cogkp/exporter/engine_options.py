"""Options of a TensorRT engine beside its precision, the same for every builder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cogkp.errors import EngineError

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@attrs.frozen(kw_only=True)
class EngineOptions:
    """What an engine is to be.

    Args:
        batch_sizes: fewest, usual and most rows at a time; for a file that takes any number, and only for such.
        workspace_mib: most memory the builder may use for one layer, MiB; None leaves it to the builder.
        timing_cache: file of measured times; read where it exists, and written. None keeps none.
        layers: precision of single layers, by the names in the ONNX file; '*' stands for those not named.
        verbose: whether what the builder says is passed on.
        gpu: index of the GPU that builds.
    """

    batch_sizes: tuple[int, int, int] | None = None
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    layers: Mapping[str, str] = attrs.field(factory=dict)
    verbose: bool = False
    gpu: int = 0


AS_THE_FILE_SAYS = EngineOptions()
"""An engine of its ONNX file's fixed batch, and nothing else asked for."""

FROM_ONE_TO_A_GROUP = EngineOptions(batch_sizes=(1, 8, 16))
"""For a file of any batch: single frames, and groups as large as those that a loaded model is asked in."""


def profile_of(model: Any, options: EngineOptions) -> dict[str, Shapes]:
    """Say for which shapes each input of an ``onnx.ModelProto`` is to be built; empty for a file of fixed batch.

    Raises:
        EngineError: the file takes any batch and no sizes are given, or the other way round.
    """
    shapes = {
        value.name: [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    open_ = {name: shape for name, shape in shapes.items() if any(isinstance(length, str) for length in shape)}
    if bool(open_) != (options.batch_sizes is not None):
        fixed = "; ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise EngineError(
            "batch sizes do not fit the ONNX file",
            expected="fewest, usual and most rows" if open_ else "none: its batch is fixed",
            got=f"{options.batch_sizes} for {fixed}",
        )
    sizes = options.batch_sizes or (0, 0, 0)
    return {name: _shapes(name, shape, sizes) for name, shape in open_.items()}


def _shapes(name: str, shape: list[Any], sizes: tuple[int, int, int]) -> Shapes:
    if any(isinstance(length, str) for length in shape[1:]):
        raise EngineError("only the first axis of an input may be open", where=name, got=str(shape))
    fewest, usual, most = ((size, *shape[1:]) for size in sizes)
    return fewest, usual, most

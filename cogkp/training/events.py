"""Write TensorBoard event files without a background thread, and trace a network into a graph.

tensorboardX's own writer hands events to a thread; when that dies of a full disk, those who add wait for ever.
"""

import socket
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cogkp.data.images import encode_image
from cogkp.errors import printable
from cogkp.files import make_folder, writing_to

PRODUCER = 22  # the version TensorBoard's own torch graphs carry
HIDDEN = {"prim::GetAttr", "prim::Constant", "prim::ListConstruct"}

EVENT_FILES = "events.out.tfevents.*"
VERSION = "brain.Event:2"
SHOWN_AFTER_S = 30.0
GROWTH, SMALLEST, LARGEST = 1.1, 1e-12, 1e20


def network_graph(model: nn.Module, example: Tensor) -> Any:
    """Trace a network, in evaluation mode, and describe its operations as a TensorBoard ``GraphDef``."""
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.versions_pb2 import VersionDef

    graph = _traced(model, example)
    names = {value.debugName(): f"input/{value.debugName()}" for value in list(graph.inputs())[1:]}
    nodes = [_node_def(name, "input", [], None) for name in names.values()]
    nodes.extend(_operation(node, names) for node in graph.nodes() if node.kind() not in HIDDEN)
    return GraphDef(node=nodes, versions=VersionDef(producer=PRODUCER))


def _traced(model: nn.Module, example: Tensor) -> Any:
    with warnings.catch_warnings():
        # torch announces the end of tracing; its successor, torch.export, takes seconds where this takes a fraction.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The drawing is of this one input, so that sizes which become constants are right.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        return torch.jit.trace(model, example, check_trace=False).inlined_graph  # type: ignore[no-untyped-call]


def _operation(node: Any, names: dict[str, str]) -> Any:
    """Describe one operation, and remember it as the source of its outputs."""
    outputs = list(node.outputs())
    scope = node.scopeName().replace("__module.", "").replace(".", "/")
    name = "/".join(part for part in (scope, f"{node.kind().split('::')[-1]}_{outputs[0].debugName()}") if part)
    names.update((output.debugName(), name) for output in outputs)
    return _node_def(name, node.kind(), [names[key] for key in _sources(node) if key in names], _shape(outputs[0]))


def _sources(node: Any) -> list[str]:
    """Name the values an operation reads, looking through the lists it reads them from."""
    keys: list[str] = []
    for value in node.inputs():
        inside = value.node()
        keys += _sources(inside) if inside.kind() == "prim::ListConstruct" else [value.debugName()]
    return keys


def _shape(value: Any) -> list[int] | None:
    return value.type().sizes() if value.type().kind() == "TensorType" else None


def _node_def(name: str, operation: str, sources: list[str], shape: list[int] | None) -> Any:
    from tensorboardX.proto.attr_value_pb2 import AttrValue
    from tensorboardX.proto.node_def_pb2 import NodeDef
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    dims = [TensorShapeProto.Dim(size=size) for size in shape or []]
    attributes = (
        {"_output_shapes": AttrValue(list=AttrValue.ListValue(shape=[TensorShapeProto(dim=dims)]))} if dims else {}
    )
    return NodeDef(name=name, op=operation, input=sources, attr=attributes)


class EventFile:
    """One new event file in a folder, which is made where it is missing.

    ``done`` steps of the folder's files stay visible; what they hold beyond is hidden. None hides nothing.

    Raises:
        OutputError: here and in every method, where the file cannot be written; it names the folder.
    """

    def __init__(self, folder: Path, done: int | None = None) -> None:
        from tensorboardX import RecordWriter

        earlier = len(list(make_folder(folder).glob(EVENT_FILES)))
        # The time tells seconds only: without the number, a quick restart would overwrite the first file.
        name = f"{EVENT_FILES[:-1]}{int(time.time()):010d}.{socket.gethostname()}.{earlier}"
        self.folder = folder
        self._closed = False
        with writing_to(folder):
            self._records = RecordWriter(str(folder / name))
        self._shown = time.monotonic()
        self._add(file_version=VERSION)
        if earlier and done is not None:
            from tensorboardX.proto.event_pb2 import SessionLog

            self._add(done + 1, session_log=SessionLog(status=SessionLog.START))  # hides what is beyond
        self.flush()

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add one number."""
        from tensorboardX.summary import scalar

        self._add(step, summary=scalar(printable(tag), value))

    def add_histogram(self, tag: str, values: npt.NDArray[np.float32], step: int) -> None:
        """Add how often which values occur."""
        from tensorboardX.summary import histogram

        self._add(step, summary=histogram(printable(tag), values, _edges()))

    def add_image(self, tag: str, rgb: npt.NDArray[np.uint8], step: int) -> None:
        """Add an image, (H, W, 3) uint8 RGB; tensorboardX's own way would need one more imaging package."""
        from tensorboardX.proto.summary_pb2 import Summary

        height, width = rgb.shape[:2]
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode_image(rgb))
        self._add(step, summary=Summary(value=[Summary.Value(tag=printable(tag), image=image)]))

    def add_graph(self, graph: Any) -> None:
        """Add the graph of a network."""
        self._add(graph_def=graph.SerializeToString())

    def flush(self) -> None:
        """Send to the disk what was added."""
        self._shown = time.monotonic()
        with writing_to(self.folder):
            self._records.flush()

    def close(self) -> None:
        """Send to the disk what was added, and close the file; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush()
        finally:
            with writing_to(self.folder):
                self._records.close()

    def _add(self, step: int = 0, **content: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step, **content)
        with writing_to(self.folder):
            self._records.write(event.SerializeToString())
        if time.monotonic() - self._shown > SHOWN_AFTER_S:
            self.flush()


def _edges() -> npt.NDArray[np.float64]:
    """Return TensorBoard's usual edges of bins: zero, and powers to both sides of it."""
    count = int(np.ceil(np.log(LARGEST / SMALLEST) / np.log(GROWTH)))
    positive = SMALLEST * GROWTH ** np.arange(count)
    return np.concatenate([-positive[::-1], [0.0], positive])

"""An ONNX file that says what it was told, whatever it is shown: a network of another program."""

from __future__ import annotations

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from cogkp.data.sample import collate
from cogkp.tasks.centerpose.decode import decode_maps
from cogkp.tasks.centerpose.task import CenterPoseTask
from tests.builders.perfect_maps import perfect_maps


def truth_of(config, split="evaluation", count=None, size_wh=None):
    """Objects (B, K, ...) that say what the labels of a split say, in its order, to inputs of some size."""
    task = CenterPoseTask(config, size_wh=size_wh)
    dataset = task.datasets(split)
    batch = collate([dataset[index] for index in range(len(dataset) if count is None else count)])
    view = torch.zeros_like(batch.targets.objects.ind[:, 0])
    return decode_maps(perfect_maps(batch.targets.objects.pick(view), task.codec.targets.cells), task.codec.decoding)


def write_said(path, said, side, *, names=None):
    """Write a file of a fixed batch that puts out ``said``, with no word of who wrote it; ``side`` may be (W, H)."""
    width, height = side if isinstance(side, tuple) else (side, side)
    names = names or said._fields
    batch = len(said[0])
    nodes = [
        helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
    ]
    nodes += [helper.make_node("Add", [f"said_{name}", "nothing"], [name]) for name in names]
    constants = [numpy_helper.from_array(torch.zeros(()).numpy(), "zero")]
    pairs = list(zip(names, said, strict=True))
    constants += [numpy_helper.from_array(value.numpy(), f"said_{name}") for name, value in pairs]
    takes = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, height, width])]
    gives = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape)) for name, value in pairs]
    graph = helper.make_graph(nodes, "said", takes, gives, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path

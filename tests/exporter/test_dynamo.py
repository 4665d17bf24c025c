"""The exporter over torch.export: the same file as the documented one, or one line that says why not."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from cogkp.errors import ExportError
from cogkp.exporter.dynamo import require_exporter
from cogkp.exporter.engine_options import EngineOptions
from cogkp.exporter.onnx_export import Tracing, export_onnx
from cogkp.exporter.tensorrt_api import build_with_package
from cogkp.exporter.typed_onnx import typed
from tests.builders.tiny_export import TinyOutputs, tiny_images, tiny_net, tiny_spec

BOTH = ("legacy", "dynamo")


@pytest.fixture
def onnxscript():
    pytest.importorskip("onnxscript", reason="onnxscript (cogkp[export]) is not installed")


def ends(model):
    return [(value.name, value.type) for value in (*model.graph.input, *model.graph.output)]


@pytest.mark.parametrize(("opset", "any_batch"), [(17, True), (17, False), (18, True)])
def test_both_exporters_write_the_same_ends_and_numbers(onnxscript, tmp_path, opset, any_batch):
    net = tiny_net()
    paths = {
        each: export_onnx(net, tiny_spec(2), tmp_path / f"{each}.onnx", how=Tracing(opset, any_batch, True, each))
        for each in BOTH
    }
    models = [onnx.load(path) for path in paths.values()]
    assert str(ends(models[0])) == str(ends(models[1]))
    assert [model.opset_import[0].version for model in models] == [opset, opset]
    image = np.stack(list(tiny_images(5 if any_batch else 2).values()))
    with torch.no_grad():
        truth = net(torch.from_numpy(image))
    for path in paths.values():
        for found, wanted in zip(onnxruntime.InferenceSession(path).run(None, {"input": image}), truth, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-4)


def test_it_says_nothing_and_leaves_logging_as_it_was(onnxscript, tmp_path):
    code = (
        "import logging\n"
        "from pathlib import Path\n"
        "from cogkp.exporter.onnx_export import Tracing, export_onnx\n"
        "from tests.builders.tiny_export import tiny_net, tiny_spec\n"
        "before = logging.getLogger('torch.onnx').level\n"
        f"export_onnx(tiny_net(), tiny_spec(), Path({str(tmp_path / 'm.onnx')!r}), how=Tracing(exporter='dynamo'))\n"
        "assert logging.getLogger('torch.onnx').level == before"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"], "weights lie in the file, not beside it"


@pytest.mark.parametrize("opset", [17, 18])
def test_the_file_holds_no_paths_of_the_machine_it_was_made_on(onnxscript, tmp_path, opset):
    path = export_onnx(tiny_net(), tiny_spec(2), tmp_path / "m.onnx", how=Tracing(opset, True, True, "dynamo"))
    content = path.read_bytes()
    for word in (b".py", b"stack_trace", b"pkg.torch", b"forward"):
        assert word not in content


def test_the_graph_can_be_typed_for_an_engine(onnxscript, tmp_path):
    path = export_onnx(tiny_net(), tiny_spec(2), tmp_path / "m.onnx", how=Tracing(17, True, True, "dynamo"))
    model = typed(onnx.load(path), "fp16")
    onnx.checker.check_model(model, full_check=True)
    image = np.stack(list(tiny_images(3).values()))
    half = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": image})
    full = onnxruntime.InferenceSession(path).run(None, {"input": image})
    np.testing.assert_allclose(half[0], full[0], atol=0.5)
    assert not np.array_equal(half[0], full[0]), "nothing was computed with fewer bits"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_engine_of_any_batch_is_built_of_it(onnxscript, tmp_path, precision):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    path = export_onnx(tiny_net(), tiny_spec(2), tmp_path / "m.onnx", how=Tracing(17, True, True, "dynamo"))
    engine = tmp_path / "m.trt"
    options = EngineOptions(batch_sizes=(1, 2, 4))
    build_with_package("tensorrt_rtx", path, engine, precision=precision, log=lambda line: None, options=options)
    assert engine.stat().st_size > 1000


class Choosy(nn.Module):
    """A network that asks its input for a number, which no exporter can follow."""

    def forward(self, image: Tensor) -> TinyOutputs:
        flat = image.mean((1, 2, 3))
        return TinyOutputs(*[flat if float(image.sum()) > 0 else -flat] * 3)


def test_a_network_that_it_cannot_follow_is_one_line(onnxscript, tmp_path):
    with pytest.raises(ExportError, match="module cannot be exported to ONNX @ Choosy") as caught:
        export_onnx(Choosy().eval(), tiny_spec(2), tmp_path / "m.onnx", how=Tracing(exporter="dynamo"))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_operator_set_that_cannot_be_had_is_refused(onnxscript, tmp_path):
    with pytest.raises(ExportError, match=r"another operator set.*expected 13, got 18"):
        export_onnx(tiny_net(), tiny_spec(2), tmp_path / "m.onnx", how=Tracing(13, True, True, "dynamo"))
    assert not list(tmp_path.iterdir())


def test_without_onnxscript_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError) as caught:
        export_onnx(tiny_net(), tiny_spec(), tmp_path / "m.onnx", how=Tracing(exporter="dynamo"))
    assert str(caught.value).count("\n") == 0
    assert "onnxscript" in str(caught.value)
    assert "pip install 'cogkp[export]'" in str(caught.value)
    export_onnx(tiny_net(), tiny_spec(), tmp_path / "m.onnx")


def test_an_unknown_exporter_is_refused():
    with pytest.raises(ExportError, match=r"no such exporter @ exporter: expected 'legacy' or 'dynamo', got 'fast'"):
        require_exporter("fast")


def test_the_documented_exporter_needs_no_onnxscript(tmp_path):
    code = (
        "import sys; sys.modules['onnxscript'] = None\n"
        "from pathlib import Path\n"
        "from cogkp.exporter.onnx_export import export_onnx\n"
        "from tests.builders.tiny_export import tiny_net, tiny_spec\n"
        f"export_onnx(tiny_net(), tiny_spec(), Path({str(tmp_path / 'm.onnx')!r}))"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    onnx.checker.check_model(tmp_path / "m.onnx")

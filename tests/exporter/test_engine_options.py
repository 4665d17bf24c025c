"""The same wishes reach every builder: batch sizes, memory, times, single layers, words."""

import os

import onnx
import pytest
from onnx import TensorProto

from cogkp.artifacts.manifest import read_manifest
from cogkp.errors import EngineError, OutputError
from cogkp.exporter.deploy import build_engine
from cogkp.exporter.engine_options import EngineOptions, profile_of
from cogkp.exporter.onnx_export import Tracing, export_onnx
from cogkp.exporter.tensorrt_api import _timing_cache, build_with_package, parse
from cogkp.exporter.trtexec import arguments
from cogkp.exporter.typed_onnx import float32_layers, typed
from cogkp.files import overwriting
from tests.builders.tiny_export import SIDE, tiny_net, tiny_spec
from tests.builders.tiny_objects import FOUND, tiny_objects_onnx
from tests.exporter.test_tensorrt_build import HELP_10, HELP_11

SIZES = (1, 2, 4)
ANY = EngineOptions(batch_sizes=SIZES)
INT8_HELP = HELP_10 + "  --int8  --stronglyTyped --minShapes=spec"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return export_onnx(
        tiny_net(), tiny_spec(2), tmp_path_factory.mktemp("options") / "m.onnx", how=Tracing(any_batch=True)
    )


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    return export_onnx(tiny_net(), tiny_spec(), tmp_path_factory.mktemp("options") / "fixed.onnx")


def built(path, engine, options, precision="fp32", log=lambda line: None):
    pytest.importorskip("tensorrt_rtx")
    return build_with_package("tensorrt_rtx", path, engine, precision=precision, log=log, options=options)


def test_each_open_input_gets_three_shapes(path, fixed):
    rest = (1, SIDE, SIDE)
    assert profile_of(onnx.load(path), ANY) == {"input": tuple((size, *rest) for size in SIZES)}
    assert profile_of(onnx.load(fixed), EngineOptions()) == {}


def test_batch_sizes_must_fit_the_file(path, fixed, tmp_path):
    with pytest.raises(EngineError, match=r"batch sizes do not fit.*expected fewest, usual and most rows"):
        profile_of(onnx.load(path), EngineOptions())
    with pytest.raises(EngineError, match=r"expected none: its batch is fixed, got \(1, 2, 4\) for input \[1, 1, 64"):
        profile_of(onnx.load(fixed), ANY)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_sees_any_batch_and_float32_ends(tmp_path, precision):
    pytest.importorskip("tensorrt_rtx")
    model = onnx.load(tiny_objects_onnx(tmp_path / "m.onnx"))
    _builder, network = parse("tensorrt_rtx", typed(model, precision).SerializeToString())
    ends = [network.get_input(0), *(network.get_output(index) for index in range(network.num_outputs))]
    assert [(end.name, tuple(end.shape), end.dtype.name) for end in ends] == [
        ("input", (-1, 3, 64, 64), "FLOAT"),
        ("bboxes", (-1, FOUND, 4), "FLOAT"),
        ("scores", (-1, FOUND, 1), "FLOAT"),
        ("kps", (-1, FOUND, 16), "FLOAT"),
        ("clses", (-1, FOUND, 1), "FLOAT"),
        ("obj_scale", (-1, FOUND, 3), "FLOAT"),
        ("kps_displacement_mean", (-1, FOUND, 16), "FLOAT"),
        ("kps_heatmap_mean", (-1, FOUND, 16), "FLOAT"),
    ]


def test_an_engine_of_any_batch_is_described_by_its_manifest(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    onnx_path = tiny_objects_onnx(tmp_path / "m.onnx")
    manifest = read_manifest(onnx_path)
    assert (manifest.batch_size, manifest.inputs[0].shape[0]) == (None, "batch_size")
    engine = tmp_path / "m.trt"
    build_engine(
        onnx_path, engine, manifest, builder="tensorrt_rtx", log=lambda line: None, options=ANY, rounding={"lost": 0.0}
    )
    found = read_manifest(engine)
    assert found.engine.batch_sizes == SIZES
    assert found.engine.rounding == {"lost": 0.0}
    assert found.signature == manifest.signature


def test_tensorrt_rtx_leaves_times_alone_and_says_so(path, tmp_path):
    cache, said = tmp_path / "cache.bin", []
    cache.write_bytes(b"times of another builder")
    options = EngineOptions(batch_sizes=SIZES, timing_cache=cache, workspace_mib=64)
    built(path, tmp_path / "a.trt", options, log=said.append)
    assert any("measures no times" in line and "cache.bin is left alone" in line for line in said)
    assert cache.read_bytes() == b"times of another builder"


class BuilderConfig:
    """Stands in for TensorRT's own, which needs a GPU: takes times that begin with its mark, as TensorRT does."""

    def __init__(self):
        self.taken = None

    def create_timing_cache(self, known):
        return known if known[:4] in (b"", b"TRT ") else None

    def set_timing_cache(self, cache, ignore_mismatch):
        self.taken = cache
        return True


@pytest.mark.parametrize(("content", "taken"), [(None, b""), (b"", b""), (b"TRT times", b"TRT times")])
def test_times_of_earlier_builds_are_used(tmp_path, content, taken):
    config, said = BuilderConfig(), []
    if content is not None:
        (tmp_path / "cache").write_bytes(content)
    assert _timing_cache("tensorrt", config, tmp_path / "cache", said.append) == config.taken == taken
    assert said == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["folder", "pipe", "damaged", "not ours"])
def test_an_unreadable_timing_cache_is_told_before_the_build(tmp_path, kind):
    """The build with TensorRT itself is refused earlier where there is no GPU, so that only this part can be asked."""
    cache, said = tmp_path / "cache", []
    if kind == "folder":
        cache.mkdir()
        with pytest.raises(EngineError, match=r"timing cache cannot be read @ .*cache: got Is a directory"):
            _timing_cache("tensorrt", BuilderConfig(), cache, said.append)
    elif kind == "pipe":  # nobody writes into it
        os.mkfifo(cache)
        assert _timing_cache("tensorrt", BuilderConfig(), cache, said.append) == b""
    elif kind == "damaged":
        cache.write_bytes(b"garbage")
        with overwriting():
            assert _timing_cache("tensorrt", BuilderConfig(), cache, said.append) == b""
        assert said == [f"timing cache {cache} is of no use here and will be replaced"]
    else:
        cache.write_bytes(b"a letter to my aunt")
        with pytest.raises(OutputError, match="cache"):
            _timing_cache("tensorrt", BuilderConfig(), cache, said.append)
        assert cache.read_bytes() == b"a letter to my aunt"


def test_words_are_passed_on_only_where_asked_for(path, tmp_path, capfd):
    said = {}
    for verbose in (False, True):
        said[verbose] = []
        built(path, tmp_path / "a.trt", EngineOptions(batch_sizes=SIZES, verbose=verbose), log=said[verbose].append)
    assert len(said[False]) == 1
    assert len(said[True]) > 1
    assert capfd.readouterr() == ("", "")


def test_trtexec_gets_the_wishes_as_flags(path):
    options = EngineOptions(batch_sizes=SIZES, workspace_mib=512, timing_cache=path.parent / "t", verbose=True, gpu=1)
    assert arguments(path, path.with_suffix(".trt"), "fp32", HELP_11, options)[2:] == [
        "--minShapes=input:1x1x64x64",
        "--optShapes=input:2x1x64x64",
        "--maxShapes=input:4x1x64x64",
        "--memPoolSize=workspace:512",
        f"--timingCacheFile={path.parent / 't'}",
        "--device=1",
        "--verbose",
    ]


@pytest.mark.parametrize(
    ("help_text", "flags"),
    [(INT8_HELP, ["--stronglyTyped"]), (HELP_10 + "  --int8", ["--int8"]), (HELP_11, []), ("", [])],
)
def test_trtexec_is_told_to_take_8_bits_from_the_file(fixed, help_text, flags):
    assert arguments(fixed, fixed.with_suffix(".trt"), "int8", help_text)[2:] == flags


def test_single_layers_keep_float32(fixed):
    model = onnx.load(fixed)
    kept = {
        layers: {node.name for node in model.graph.node if node.name in float32_layers(model, dict(layers))}
        for layers in ((), (("/merge/Conv", "fp32"),), (("*", "fp32"), ("/merge/Conv", "fp16")))
    }
    default, without, alone = kept.values()
    assert without - default == {"/merge/Conv"}
    assert default - alone == set()
    assert "/merge/Conv" not in alone
    assert {"/down1/down1.0/Conv", "/down2/down2.0/Conv"} <= alone - default
    words = arguments(fixed, fixed, "fp16", HELP_10, EngineOptions(layers={"/merge/Conv": "fp32"}))
    assert "/merge/Conv:fp32" in words[-1]
    kinds = {w.name: w.data_type for w in typed(model, "fp16", {"*": "fp32", "/merge/Conv": "fp16"}).graph.initializer}
    assert kinds["merge.weight.fp16"] == TensorProto.FLOAT16


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ({"/merg/Conv": "fp32"}, r"no such layer.*'/merge/Conv'"),
        ({"/Softmax": "fp16"}, r"layer must stay fp32 @ /Softmax"),
    ],
)
def test_layers_that_cannot_be_had_are_told(fixed, layers, told):
    with pytest.raises(EngineError, match=told):
        typed(onnx.load(fixed), "fp16", layers)

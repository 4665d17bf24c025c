import os
import stat

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from cogkp.artifacts.tensorrt_package import forward_messages, is_installed, last_error, tensorrt_logger
from cogkp.errors import EngineError, OutputError
from cogkp.exporter.onnx_export import export_onnx
from cogkp.exporter.tensorrt_api import build_with_package, parse
from cogkp.exporter.tensorrt_build import BUILDERS, choose_builder
from cogkp.exporter.trtexec import build_with_trtexec
from tests.builders.tiny_export import tiny_net, tiny_spec

HELP_10 = """&&&& RUNNING TensorRT.trtexec [TensorRT v100900] [b34] # trtexec --help
  --onnx=<file>   --saveEngine=<file>  --noTF32
  --fp16   Enable fp16 precision   --bf16   Enable bf16 precision
  --precisionConstraints=spec   --layerPrecisions=spec
"""
HELP_10_WITHOUT_CONSTRAINTS = "[TensorRT v100000]\n  --onnx=<file>  --saveEngine=<file>  --bf16"
HELP_11 = "&&&& RUNNING TensorRT.trtexec [TensorRT v110400] [b1] # trtexec --help\n  --onnx=<file>  --saveEngine=<file>"

FAKE = """#!/bin/sh
case "$1" in --help) cat '{folder}/help.txt'; exit 0;; esac
for word in "$@"; do
  printf '%s\\n' "$word" >> '{folder}/arguments.txt'
  case "$word" in
    --onnx=*) cp "${{word#--onnx=}}" '{folder}/seen.onnx';;
    --saveEngine=*) [ {code} -eq 0 ] && printf 'plan' > "${{word#--saveEngine=}}";;
  esac
done
echo 'first line'; echo 'Error[4]: layer is not supported'; echo '&&&& FAILED'
exit {code}
"""


def onnx_with_an_unknown_layer():
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Frobnicate", ["x"], ["y"], name="odd")], "g", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export_onnx(tiny_net(), tiny_spec(), tmp_path_factory.mktemp("build") / "tool.release.onnx")


@pytest.fixture
def trtexec(tmp_path, monkeypatch):
    """Put a script on PATH that records its arguments; it says nothing about what a real one would build."""

    def install(help_text, code=0):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "help.txt").write_text(help_text)
        script = folder / "trtexec"
        script.write_text(FAKE.format(folder=folder, code=code))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return folder

    return install


def built(model, engine, precision):
    return build_with_trtexec(model, engine, precision=precision, log=lambda line: None)


@pytest.mark.parametrize("help_text", [HELP_10, HELP_11])
def test_trtexec_gets_two_files_for_fp32(trtexec, model, tmp_path, help_text):
    folder = trtexec(help_text)
    info = built(model, tmp_path / "tool.trt", "fp32")
    words = (folder / "arguments.txt").read_text().splitlines()
    assert words[0] == f"--onnx={model}"
    assert [word.split("=")[0] for word in words] == ["--onnx", "--saveEngine"]
    assert (tmp_path / "tool.trt").read_bytes() == b"plan"
    assert info.builder == "trtexec"
    assert info.version == ("10.9.0" if help_text == HELP_10 else "11.4.0")


def test_trtexec_10_gets_the_flag_and_the_layers_to_spare(trtexec, model, tmp_path):
    folder = trtexec(HELP_10)
    built(model, tmp_path / "tool.trt", "bf16")
    words = (folder / "arguments.txt").read_text().splitlines()
    assert words[2:4] == ["--bf16", "--precisionConstraints=prefer"]
    spared = words[4].removeprefix("--layerPrecisions=").split(",")
    assert {"/Softmax:fp32", "/heat/Conv:fp32", "/ReduceSum:fp32"} <= set(spared)
    assert "/merge/Conv:fp32" not in spared
    assert (folder / "seen.onnx").read_bytes() == model.read_bytes()


def test_an_early_trtexec_10_gets_the_flag_alone(trtexec, model, tmp_path):
    folder = trtexec(HELP_10_WITHOUT_CONSTRAINTS)
    built(model, tmp_path / "tool.trt", "bf16")
    assert (folder / "arguments.txt").read_text().splitlines()[2:] == ["--bf16"]


def test_a_trtexec_whose_help_is_silent_gets_the_documented_flag(trtexec, model, tmp_path):
    folder = trtexec("")
    built(model, tmp_path / "tool.trt", "bf16")
    assert (folder / "arguments.txt").read_text().splitlines()[2:] == ["--bf16"]


def test_trtexec_11_gets_a_typed_graph_and_no_flag(trtexec, model, tmp_path):
    folder = trtexec(HELP_11)
    built(model, tmp_path / "tool.trt", "bf16")
    words = (folder / "arguments.txt").read_text().splitlines()
    assert [word.split("=")[0] for word in words] == ["--onnx", "--saveEngine"]
    kinds = {weight.data_type for weight in onnx.load(folder / "seen.onnx").graph.initializer}
    assert kinds >= {TensorProto.BFLOAT16, TensorProto.FLOAT}


def test_a_failing_trtexec_is_told_in_one_line_and_leaves_nothing(trtexec, model, tmp_path):
    trtexec(HELP_11, code=7)
    engine = tmp_path / "out" / "tool.trt"
    engine.parent.mkdir()
    with pytest.raises(EngineError, match=r"trtexec failed.*7: .*layer is not supported \| &&&& FAILED") as caught:
        built(model, engine, "fp32")
    assert "\n" not in str(caught.value)
    assert list(engine.parent.iterdir()) == []


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_tensorrt_rtx_builds_a_real_engine(model, tmp_path, precision, capfd):
    pytest.importorskip("tensorrt_rtx")
    engine = tmp_path / "tool.trt"
    said = []
    info = build_with_package("tensorrt_rtx", model, engine, precision=precision, log=said.append)
    assert engine.stat().st_size > 10_000
    assert (info.builder, info.precision) == ("tensorrt_rtx", precision)
    assert info.version in said[0]
    assert capfd.readouterr() == ("", "")


def test_a_smaller_type_makes_a_smaller_engine(tmp_path):
    pytest.importorskip("tensorrt_rtx")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = tiny_net()
        net.merge = torch.nn.Sequential(torch.nn.Conv2d(32, 512, 3, 1, 1), torch.nn.Conv2d(512, 16, 3, 1, 1)).eval()
    wide = export_onnx(net, tiny_spec(), tmp_path / "wide.onnx")
    sizes = {}
    for precision in ("fp32", "bf16"):
        build_with_package(
            "tensorrt_rtx", wide, tmp_path / f"{precision}.trt", precision=precision, log=lambda line: None
        )
        sizes[precision] = (tmp_path / f"{precision}.trt").stat().st_size
    assert sizes["bf16"] < sizes["fp32"]


def test_one_logger_serves_the_whole_process():
    pytest.importorskip("tensorrt_rtx")
    assert tensorrt_logger("tensorrt_rtx") is tensorrt_logger("tensorrt_rtx")


def test_errors_are_kept_and_all_but_the_most_talkative_messages_are_forwarded():
    severity = pytest.importorskip("tensorrt_rtx").ILogger.Severity
    logger, heard = tensorrt_logger("tensorrt_rtx"), []
    with forward_messages(heard.append):
        for level in (severity.ERROR, severity.WARNING, severity.INFO, severity.VERBOSE):
            logger.log(level, str(level))
    logger.log(severity.WARNING, "nobody listens")
    assert heard == list(map(str, (severity.ERROR, severity.WARNING, severity.INFO)))
    assert last_error() == str(severity.ERROR)


@pytest.mark.parametrize("content", [b"no model", onnx_with_an_unknown_layer()])
def test_what_the_parser_refuses_is_told_in_one_line(content):
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(EngineError, match=r"cannot parse the model: got .+") as caught:
        parse("tensorrt_rtx", content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"no model", None])
def test_a_file_that_is_no_model_is_told(tmp_path, content):
    pytest.importorskip("tensorrt_rtx")
    path = tmp_path / "odd.onnx"
    if content:
        path.write_bytes(content)
    with pytest.raises(EngineError, match=r"ONNX file cannot be read @ .*odd\.onnx"):
        build_with_package("tensorrt_rtx", path, tmp_path / "odd.trt", precision="fp32", log=lambda line: None)


def test_an_engine_that_cannot_be_written_is_told(model, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"tool\.trt"):
        build_with_package(
            "tensorrt_rtx", model, tmp_path / "file" / "tool.trt", precision="fp32", log=lambda line: None
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a GPU")
def test_tensorrt_proper_is_not_touched_without_a_gpu(model, tmp_path):
    with pytest.raises(EngineError, match="NVIDIA GPU only"):
        build_with_package("tensorrt", model, tmp_path / "tool.trt", precision="fp32", log=lambda line: None)


def test_trtexec_is_the_first_choice(trtexec):
    trtexec(HELP_10)
    assert choose_builder("auto") is BUILDERS["trtexec"].build


def test_nothing_installed_says_what_to_install(monkeypatch, tmp_path):
    if is_installed("tensorrt"):
        pytest.skip("TensorRT is installed here")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"pip install 'cogkp\[tensorrt\]', or name --engine") as told:
        choose_builder()
    assert "--no-engine" not in str(told.value)  # not everybody who builds has it
    with pytest.raises(EngineError, match=r"builder tensorrt is not installed\. Run pip install"):
        choose_builder("tensorrt")
    with pytest.raises(EngineError, match="trtexec"):
        choose_builder("trtexec")


def test_an_unknown_builder_gets_a_suggestion():
    with pytest.raises(EngineError, match="Did you mean 'tensorrt_rtx'"):
        choose_builder("tensort_rtx")

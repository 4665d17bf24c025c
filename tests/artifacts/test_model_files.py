import hashlib
from pathlib import Path

from cogkp.artifacts.names import engine_path, file_sha256, manifest_path, onnx_name, unverified_path


def test_all_files_of_a_release_lie_side_by_side_under_different_names():
    onnx = Path("models") / onnx_name("tool", 1, "20260131-120000", "fp32")
    engine = engine_path(onnx)
    files = {onnx, engine, manifest_path(onnx), manifest_path(engine), unverified_path(onnx)}
    assert len(files) == 5
    assert {path.parent for path in files} == {Path("models")}
    assert engine.name == "tool_b1_20260131-120000_fp32.trt"


def test_hash_is_that_of_the_content(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()

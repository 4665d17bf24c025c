"""The file of ranges belongs to one graph, and foreign files are neither used nor lost."""

import json

import onnx
import pytest

from cogkp.artifacts.calibration_cache import CalibrationCache, graph_sha256, read_calibration, write_calibration
from cogkp.errors import ArtifactError
from cogkp.exporter.onnx_export import export_onnx, with_metadata
from tests.builders.tiny_export import tiny_net, tiny_spec

CACHE = CalibrationCache("ab" * 32, 4, {"input": 1.0, "/x": 0.1 + 0.2})


def test_what_is_written_is_read(tmp_path):
    write_calibration(tmp_path / "out" / "cal.json", CACHE)
    assert read_calibration(tmp_path / "out" / "cal.json") == CACHE
    assert read_calibration(tmp_path / "absent.json") is None


def test_weights_count_and_metadata_do_not(tmp_path):
    path = export_onnx(tiny_net(), tiny_spec(), tmp_path / "a.onnx")
    other = export_onnx(tiny_net(seed=1), tiny_spec(), tmp_path / "b.onnx")
    told = onnx.load_from_string(with_metadata(path.read_bytes(), {"created": "today"}))
    assert graph_sha256(onnx.load(path)) == graph_sha256(told) != graph_sha256(onnx.load(other))


@pytest.mark.parametrize(
    "content",
    [
        "TRT-100300-EntropyCalibration2\ninput: 3c010a14\n",
        "[]",
        "{}",
        json.dumps({"kind": "cogkp calibration", "format": 2}),
        json.dumps({"kind": "cogkp calibration", "format": 1, "graph_sha256": "a", "pictures": 1, "largest": [1]}),
        json.dumps({"kind": "cogkp calibration", "format": 1, "largest": {}}),
    ],
)
def test_other_files_are_refused_and_stay(tmp_path, content):
    path = tmp_path / "cal.cache"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=r"not a calibration of this library @ .*Name another cal_cache_file"):
        read_calibration(path)
    assert path.read_text() == content


def test_a_folder_is_told(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_calibration(tmp_path)

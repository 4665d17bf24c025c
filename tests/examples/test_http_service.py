"""The HTTP service of the examples runs as a process of its own, and is asked over a real connection."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

import cogkp
from tests.builders.keypoint_model import keypoint_config, keypoint_task, scene
from tests.builders.model_files import write_onnx

pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

ROOT = Path(__file__).parents[2]
MOST_BYTES = 16 << 20
LINE = re.compile(r"running on http://127\.0\.0\.1:(\d+)")


class Running:
    """A service in a process, its port, and its model opened here."""

    def __init__(self, folder: Path, **crop: object) -> None:
        onnx = write_onnx(folder / "tool.onnx", keypoint_task(keypoint_config(**crop)))
        self.model = cogkp.load(onnx, threads=1)
        command = [sys.executable, str(ROOT / "examples" / "http_service.py"), str(onnx), "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.said = ""
        while not LINE.search(self.said):
            line = self.process.stderr.readline()
            assert line, self.said
            self.said += line
        self.port = int(LINE.search(self.said)[1])

    def ask(self, body: bytes, path: str = "/", method: str = "POST") -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with suppress(BrokenPipeError):  # answered before all was sent
            connection.request(method, path, body)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        connection.close()
        return answer.status, said

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        _, rest = self.process.communicate(timeout=60)
        self.model.close()
        return self.process.returncode, self.said + rest


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    service = Running(tmp_path_factory.mktemp("frame"))
    yield service
    code, said = service.stop()
    assert "Traceback" not in said
    assert code in (0, -signal.SIGTERM)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_an_answer_is_that_of_the_library(running, tmp_path):
    for seed, ending in enumerate((".png", ".jpg", ".webp")):
        file = tmp_path / f"image{ending}"
        cv2.imwrite(str(file), scene(seed, (200 + seed, 150)))
        status, said = running.ask(file.read_bytes())
        wanted = json.loads(json.dumps(running.model(file).to_dict()))
        assert (status, said.keys()) == (200, wanted.keys())
        assert said["size_wh"] == [200 + seed, 150]
        for one, other in zip(said["points"], wanted["points"], strict=True):
            assert one["name"] == other["name"]
            np.testing.assert_allclose(one["uv"], other["uv"], atol=0.01)
            np.testing.assert_allclose(one["confidence"], other["confidence"], atol=0.001)


def test_clients_at_once_get_their_own_answers(running):
    images = [png(scene(seed)) for seed in range(6)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: running.ask(images[number % 6]), range(48)))
    assert {status for status, _ in found} == {200}
    for number, (_, said) in enumerate(found):
        assert said == found[number % 6][1]
    assert len({json.dumps(said) for _, said in found}) == 6


def huge_png() -> bytes:
    """A small file that says it has four billion pixels."""
    head = struct.pack(">IIBBBBB", 65535, 65535, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + head
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "image"),
        (b"no image at all", "image"),
        (png(scene())[:-300], "image"),
        (huge_png(), "pixels"),
        (b"GIF89a" + bytes(100), "image"),
    ],
    ids=["empty", "text", "truncated", "huge", "gif"],
)
def test_a_bad_image_is_one_clear_line(running, body, told):
    status, said = running.ask(body)
    assert status == 400
    assert list(said) == ["error"]
    assert told in said["error"]
    assert "\n" not in said["error"]
    assert "/tmp" not in said["error"]
    assert running.ask(png(scene()))[0] == 200


def test_too_large_a_body_is_refused_with_and_without_a_length(running):
    status, said = running.ask(bytes(MOST_BYTES + 1))
    assert (status, said) == (413, {"error": f"the image has more than {MOST_BYTES} bytes"})
    status, _ = running.ask(iter([bytes(1 << 20)] * 17))  # in chunks, whose sum nobody knows before
    assert status == 413
    assert running.ask(bytes(MOST_BYTES))[0] == 400  # no image, but not too large
    assert running.ask(png(scene()))[0] == 200


def test_what_is_no_question_is_refused(running):
    assert running.ask(b"", method="GET")[0] == 405
    assert running.ask(b"", "/other")[0] == 404
    status, said = running.ask(png(scene()), "/?box=1,2,30,40")
    assert status == 400
    assert "takes no box" in said["error"]
    for box in ("1,2", "a,b,c,d", ""):
        assert running.ask(png(scene()), f"/?box={box}")[0] == 400


def test_a_client_that_leaves_does_no_harm(running):
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nhalf")
    assert running.ask(b"", "/health", "GET")[0] == 200


def test_health_says_which_model_is_served(running):
    status, said = running.ask(b"", "/health", "GET")
    assert (status, said) == (200, {"model": "tool.onnx", "family": "keypoint", "names": ["tip", "turn", "end"]})


def test_a_model_that_needs_a_box_gets_it(tmp_path):
    service = Running(tmp_path, region="points")
    try:
        status, said = service.ask(png(scene()))
        assert status == 400
        assert "needs to know where to look" in said["error"]
        status, said = service.ask(png(scene()), "/?box=20,10,90,70")
        assert status == 200
        wanted = service.model(scene(), bgr=True, box=(20, 10, 90, 70)).points
        np.testing.assert_allclose([point["uv"] for point in said["points"]], wanted, atol=0.01)
    finally:
        service.stop()


def test_the_load_is_bounded_and_stays_on_this_computer(running, tmp_path):
    file = tmp_path / "image.png"
    file.write_bytes(png(scene()))

    def load(url, *more):
        command = [sys.executable, "-m", "benchmarks.load_http_service", url, str(file), *map(str, more)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)

    done = load(f"http://127.0.0.1:{running.port}/", "--requests", 21, "--clients", 4)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["requests"], told["answers"]) == (21, {"200": 21})
    assert 0 < told["p50_ms"] <= told["p90_ms"] <= told["p99_ms"] <= told["longest_ms"]
    refused = load("http://192.0.2.1:80/")
    assert refused.returncode == 1
    assert "not on this computer" in refused.stderr
    assert load(f"http://127.0.0.1:{running.port}/", "--requests", 10**9).returncode == 2

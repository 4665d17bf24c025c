"""Streams over a real connection: frames come in order, and an end, a stall and a missing server are told."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import pytest

import cogkp
from cogkp.data.sources import LiveSource, video
from cogkp.errors import DataError
from tests.builders.keypoint_model import keypoint_config, keypoint_task
from tests.builders.model_files import write_onnx
from tests.builders.videos import number_of, numbered

FRAMES = 12


class Camera(BaseHTTPRequestHandler):
    """Sends JPEG images one after the other, as network cameras do; then it ends, or goes on sending nothing."""

    stalls = False
    pause_s = 0.0

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(FRAMES):
            data = cv2.imencode(".jpg", numbered(number))[1].tobytes()
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
            self.wfile.write(data + b"\r\n")
            self.wfile.flush()
            time.sleep(self.pause_s)
        if self.stalls:
            self.server.done.wait(60)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def serve():
    """Start such a camera; returns its address."""
    servers = []

    def start(**how):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Once", (Camera,), how))
        server.done = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/video.mjpg"

    yield start
    for server in servers:
        server.done.set()
        server.shutdown()
        server.server_close()


def read(source, frames):
    for frame in source.frames(range(1000)):
        frames.append(frame)


def test_frames_come_in_order_until_the_camera_stops(serve):
    source = LiveSource(serve())
    frames = []
    with pytest.raises(DataError, match="the camera stopped sending") as found:
        read(source, frames)
    assert f"{len(frames)} frames before" in str(found.value)
    numbers = [number_of(frame.image) for frame in frames]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= FRAMES - 1
    times = [frame.time_s for frame in frames]
    assert times == sorted(times)


def test_a_stream_that_stalls_is_told(serve, monkeypatch):
    monkeypatch.setattr(video, "READ_TIMEOUT_S", 1.0)
    frames = []
    started = time.monotonic()
    with pytest.raises(DataError, match=r"the camera has sent nothing for [12] s"):
        read(LiveSource(serve(stalls=True)), frames)
    assert len(frames) >= FRAMES - 1
    assert time.monotonic() - started < 30


def test_a_model_that_is_too_slow_leaves_frames_out_and_counts_them(serve, tmp_path):
    file = write_onnx(tmp_path / "any.onnx", keypoint_task(keypoint_config()), None)
    predictions = cogkp.predict(file, serve(pause_s=0.05))
    assert predictions.total is None
    numbers = []

    def slowly():
        for each in predictions:
            numbers.append(each.frame.number)
            time.sleep(0.2)

    with predictions, pytest.raises(DataError, match="stopped sending"):
        slowly()
    assert numbers == sorted(set(numbers))
    assert predictions.dropped > 0
    assert len(numbers) + predictions.dropped <= FRAMES
    assert len(numbers) + predictions.dropped >= FRAMES - 2


def test_what_a_camera_showed_before_it_was_gone_is_written(serve, tmp_path):
    file = write_onnx(tmp_path / "any.onnx", keypoint_task(keypoint_config()), None)
    with pytest.raises(DataError, match="stopped sending"):
        cogkp.write_predictions(cogkp.predict(file, serve(pause_s=0.1)), tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) >= FRAMES - 3


def test_a_limit_ends_a_stream(serve, tmp_path):
    file = write_onnx(tmp_path / "any.onnx", keypoint_task(keypoint_config()), None)
    address = serve(stalls=True, pause_s=0.02)
    started = time.monotonic()
    found = cogkp.write_predictions(cogkp.predict(file, address, limit=3), tmp_path / "out.jsonl")
    assert 1 <= found.counts["frames"] + found.dropped <= 3
    assert time.monotonic() - started < 9

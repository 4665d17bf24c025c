"""What lies at the name of an output decides what happens to it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cogkp.data.images import encode_image, write_png
from cogkp.errors import OutputError
from cogkp.files import (
    MARK,
    atomic_path,
    has_mark,
    is_json_with,
    marked,
    overwriting,
    require_replaceable,
    write_bytes,
    write_text,
)
from tests.builders.devices import FULL, SWALLOWS, device_node

REPOSITORY = Path(__file__).parents[2]
REFUSED = r"will not replace a file that this program did not write @ .*{}.* --overwrite"


@pytest.mark.parametrize("content", [b"", b"mine", b"\x89PNG\r\n\x1a\n", b"{}"])
def test_a_file_of_somebody_else_stays_as_it_is(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(OutputError, match=REFUSED.format(r"notes\.txt")):
        write_bytes(path, b"ours")
    assert path.read_bytes() == content
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]


def test_it_is_replaced_where_that_is_allowed_and_not_beyond(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with overwriting():
        write_bytes(path, b"ours")
    assert path.read_bytes() == b"ours"
    with pytest.raises(OutputError), overwriting(False):
        write_bytes(path, b"again")


@pytest.mark.parametrize("content", [marked(encode_image(np.zeros((4, 4), np.uint8))), f"<!-- {MARK}".encode()])
def test_a_mark_counts_in_a_file_of_the_same_format_alone(tmp_path, content):
    path = tmp_path / "experiment.yaml"
    path.write_text(f"# {MARK}\nmy: settings\n")
    with pytest.raises(OutputError, match="did not write"):
        write_bytes(path, content)
    assert path.read_text().endswith("my: settings\n")
    write_text(path, f"# {MARK}\nother: settings\n")
    assert path.read_text().endswith("other: settings\n")


def test_a_file_with_the_mark_is_replaced_and_keeps_its_rights(tmp_path):
    path = tmp_path / "page.html"
    write_text(path, f"<meta content='{MARK}'>first")
    path.chmod(0o600)
    write_text(path, f"<meta content='{MARK}'>second")
    assert path.read_text().endswith("second")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_images_bear_the_mark_and_the_same_pixels(suffix):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    plain = encode_image(pixels, suffix)
    ours = marked(plain)
    assert MARK.encode() in ours[:1024]
    decoded = [cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR) for each in (plain, ours)]
    np.testing.assert_array_equal(*decoded)


def test_a_drawing_is_replaced_by_the_next_one_and_a_photograph_is_not(tmp_path):
    pixels = np.zeros((4, 4), np.uint8)
    write_png(tmp_path / "drawing.png", pixels)
    write_png(tmp_path / "drawing.png", pixels + 1)
    (tmp_path / "photograph.png").write_bytes(encode_image(pixels))
    with pytest.raises(OutputError, match=REFUSED.format(r"photograph\.png")):
        write_png(tmp_path / "photograph.png", pixels)


def test_documents_without_room_for_a_mark_are_known_by_their_keys(tmp_path):
    path = tmp_path / "a.json"
    for content, known in (('{"a": 1, "b": 2}', True), ('{"a": 1}', False), ("[]", False), ("{", False)):
        path.write_text(content)
        assert is_json_with(path, "a", "b") == known
    path.write_bytes(b"[" * 100_000)
    assert not is_json_with(path, "a")


def test_a_link_is_followed_and_stays(tmp_path):
    target, link = tmp_path / "elsewhere" / "target.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    link.symlink_to(target)
    write_text(link, MARK)  # nothing there yet
    write_text(link, f"{MARK} again")
    assert link.is_symlink()
    assert target.read_text() == f"{MARK} again"
    target.write_text("mine now")
    with pytest.raises(OutputError, match=REFUSED.format(r"link\.txt")):
        write_text(link, MARK)


def test_links_that_lead_round_in_a_circle_are_told(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OutputError, match="links that lead round in a circle"):
        write_text(tmp_path / "a", "")


def test_a_device_is_written_through_and_stays_one(tmp_path):
    device = device_node(tmp_path / "null", SWALLOWS)
    write_bytes(device, b"swallowed")
    with atomic_path(device) as draft:
        draft.write_bytes(b"swallowed")
    assert stat.S_ISCHR(device.stat().st_mode)
    assert [each.name for each in tmp_path.iterdir()] == ["null"]


def test_a_device_that_is_full_is_told(tmp_path):
    with pytest.raises(OutputError, match="the disk is full"):
        write_bytes(device_node(tmp_path / "full", FULL), b"too much")


def test_a_pipe_carries_what_is_written_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = bytes(range(256)) * 4096  # more than a pipe holds at once
    copy = "import sys, pathlib; sys.stdout.buffer.write(pathlib.Path(sys.argv[1]).read_bytes())"
    with subprocess.Popen([sys.executable, "-c", copy, str(pipe)], stdout=subprocess.PIPE) as reader:
        write_bytes(pipe, content)
        assert reader.communicate(timeout=60)[0] == content
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_that_nobody_reads_is_told_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("cogkp.files.writing.READER_WAIT_S", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="nobody reads"):
        write_bytes(tmp_path / "pipe", b"x")


def test_what_is_neither_file_nor_pipe_is_refused(tmp_path):
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(OutputError, match="neither a file nor a pipe"):
            write_bytes(tmp_path / "socket", b"x")
        with pytest.raises(OutputError, match="neither"), overwriting():
            write_bytes(tmp_path / "socket", b"x")


def test_what_will_be_refused_is_refused_before_the_work(tmp_path):
    (tmp_path / "b").write_text("mine")
    require_replaceable([tmp_path / "a"])
    with pytest.raises(OutputError, match=REFUSED.format("b")):
        require_replaceable([tmp_path / "a", tmp_path / "b"])


def test_the_mark_is_looked_for_at_the_beginning(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("x" * 2000 + MARK)
    assert not has_mark(path)

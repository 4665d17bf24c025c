import errno
import os
import resource
import stat
from pathlib import Path

import pytest

from cogkp.errors import OutputError
from cogkp.files import (
    atomic_path,
    check_written,
    in_own_folder,
    make_folder,
    share_file,
    write_bytes,
    write_json,
    write_text,
    write_verified,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_content_appears_whole_with_the_usual_rights(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    write_text(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_an_error_inside_the_block_changes_nothing(tmp_path):
    path = tmp_path / "file.onnx"
    write_bytes(path, b"old", in_own_folder)

    def half_way():
        with atomic_path(path, in_own_folder) as draft:
            assert draft.suffix == ".onnx"
            draft.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_way()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.onnx"]


def test_the_old_content_is_there_until_the_end(tmp_path):
    path = tmp_path / "file"
    write_bytes(path, b"old", in_own_folder)
    with atomic_path(path, in_own_folder) as draft:
        draft.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_without_numbers_that_are_none(tmp_path, value):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "file.json", {"value": value})
    assert names(tmp_path) == []


def test_a_folder_of_that_name_is_refused(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match=r"taken.*got a folder of that name\. Move it away"):
        write_bytes(tmp_path / "taken", b"")


def test_a_file_where_a_folder_should_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/inner.*got a file where a folder should be\. Move it away"):
        write_bytes(tmp_path / "file" / "inner", b"")


def test_a_folder_cannot_take_the_place_of_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"got a file of that name\. Move it away"):
        make_folder(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="no permission"):
        write_bytes(tmp_path / "file", b"")


def test_a_write_that_runs_out_of_room_keeps_the_old_file(tmp_path):
    """A real limit of the system stands for a full disk: the write stops after some bytes."""
    path = tmp_path / "file"
    write_bytes(path, b"old", in_own_folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match="larger than this system allows") as caught:
            write_bytes(path, bytes(100_000), in_own_folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.__cause__.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_an_error_about_another_file_keeps_its_own_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_path(tmp_path / "file"):
        (tmp_path / "elsewhere").read_bytes()
    assert names(tmp_path) == []


def test_what_reads_back_as_something_else_is_told(tmp_path):
    path = tmp_path / "file"
    write_verified(path, b"content")
    check_written(path, b"content", path)
    for other in (b"contend", b"conten", b"content!", b""):
        path.write_bytes(other)
        with pytest.raises(OutputError, match=r"reads back differently from what was written @ .*named"):
            check_written(path, b"content", tmp_path / "named")


def test_a_file_is_shared_with_another_file_system_by_copy(tmp_path):
    elsewhere = Path("/dev/shm")
    if not os.access(elsewhere, os.W_OK) or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    source, mirror = tmp_path / "source.pth", elsewhere / f"cogkp-{os.getpid()}" / "mirror.pth"
    try:
        for content in (b"first", b"second"):
            write_bytes(source, content, in_own_folder)
            share_file(mirror, source)
            assert mirror.read_bytes() == content
        assert (names(tmp_path), names(mirror.parent)) == (["source.pth"], ["mirror.pth"])
    finally:
        mirror.unlink(missing_ok=True)
        mirror.parent.rmdir()


def test_a_shared_file_keeps_its_content_when_the_source_moves_on(tmp_path):
    source, mirror = tmp_path / "source", tmp_path / "mirror"
    for content in (b"first", b"second"):
        write_bytes(source, content, in_own_folder)
        share_file(mirror, source)
        assert mirror.read_bytes() == content
    write_bytes(source, b"third", in_own_folder)
    assert mirror.read_bytes() == b"second"
    assert names(tmp_path) == ["mirror", "source"]

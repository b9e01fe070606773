"""Ordinary files, and what only looks like one."""

import os
import socket
import threading

import pytest

from transferkit.data.check_files import check_file
from transferkit.data.image_files import IMAGE_EXTENSIONS, UNSUPPORTED_EXTENSIONS, read_file
from transferkit.data.images import UnreadableImage, decode


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("read", [read_file, decode, lambda path: check_file(path).reason])
def test_a_fifo_does_not_block(pipe, read):
    outcome = []

    def attempt():
        try:
            outcome.append(read(str(pipe)))
        except (ValueError, UnreadableImage) as error:
            outcome.append(str(error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert "not an ordinary file" in outcome[0]


def test_devices_sockets_folders_and_proc_are_not_read(tmp_path):
    for special in ("/dev/zero", "/dev/null"):
        with pytest.raises(ValueError, match="not an ordinary file"):
            read_file(special)
    where = tmp_path / "s.png"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(where))
        with pytest.raises(ValueError, match="not an ordinary file"):
            read_file(where)
    with pytest.raises(ValueError, match="is a directory"):
        read_file(tmp_path)
    if os.path.exists("/proc/self/maps"):
        with pytest.raises(ValueError, match="empty"):
            read_file("/proc/self/maps")


def test_a_huge_file_is_not_read(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(3 * 1024**3)  # sparse: takes no room
    with pytest.raises(UnreadableImage, match=r"its 3\.0 GiB are more than 2 GiB a file"):
        decode(path)


def test_an_extension_is_read_or_not():
    assert not IMAGE_EXTENSIONS & UNSUPPORTED_EXTENSIONS
    assert ".heic" in UNSUPPORTED_EXTENSIONS
    assert {".jpg", ".png", ".tif", ".webp"} <= IMAGE_EXTENSIONS

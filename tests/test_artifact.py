"""Reading an artifact executes and allocates nothing before it is checked; what is wrong is said in one message."""

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import PythonStarter
from transferkit.artifact import _sha256, is_artifact, open_artifact, read_metadata, write_artifact
from transferkit.errors import TransferkitError
from transferkit.rundir import Status, write_status

METADATA: dict[str, Any] = {
    "backbone": {"source": "torchvision", "name": "resnet18", "kwargs": {}, "weights": "random"},
    "stage": "stage5",
    "stages": ["stage5"],
    "pool": "avg",
    "head": {"type": "linear", "in_features": 3, "num_classes": 2},
    "class_names": ["a", "b"],
    "preprocessing": {
        "input_size": [8, 8],
        "resize_size": [8, 8],
        "interpolation": "bilinear",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 1.0,
        "crop_mode": "center",
    },
    "dataset": {"root": "photos"},
}


def write(folder: Path, seed: int = 0, **changes: Any) -> Path:
    torch.manual_seed(seed)
    tensors = {
        "backbone.w": torch.rand(2, 2).half(),
        "backbone.n": torch.tensor(3),
        "head.weight": torch.rand(2, 3),
        "head.bias": torch.rand(2),
    }
    write_artifact(folder, {**METADATA, **changes}, tensors)
    return folder


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write(tmp_path / "run")


def message_of(folder: Path) -> str:
    with pytest.raises(TransferkitError) as error:
        open_artifact(folder)
    return str(error.value)


def edit(folder: Path, change: Callable[[dict[str, Any]], object], version: int = 1) -> None:
    """Change `model.json`; as format 1, which has no hashes that would tell of it."""
    path = folder / "model.json"
    content = json.loads(path.read_text())
    content["format"] = version
    if version == 1:
        del content["weights_sha256"], content["metadata_sha256"]
    change(content)
    path.write_text(json.dumps(content))


def test_it_comes_back(artifact: Path) -> None:
    assert is_artifact(artifact)
    metadata = read_metadata(artifact)
    assert {key: metadata[key] for key in METADATA} == METADATA
    assert metadata["format"] == 2
    tensors = open_artifact(artifact).tensors("backbone.")
    assert set(tensors) == {"w", "n"}
    assert tensors["w"].dtype == torch.float32
    assert tensors["n"].dtype == torch.int64
    torch.manual_seed(0)
    assert torch.equal(tensors["w"], torch.rand(2, 2).half().float())


def test_its_hash_is_that_of_the_file(artifact: Path) -> None:
    told = subprocess.run(["sha256sum", artifact / "model.safetensors"], capture_output=True, text=True, check=True)
    assert read_metadata(artifact)["weights_sha256"] == told.stdout.split()[0]


def test_nothing_but_the_two_files_is_left(artifact: Path) -> None:
    assert {path.name for path in artifact.iterdir()} == {"model.safetensors", "model.json"}
    assert len({path.stat().st_mode for path in artifact.iterdir()}) == 1


def test_format_1_has_no_hashes_and_is_read(artifact: Path) -> None:
    edit(artifact, lambda content: None)
    assert open_artifact(artifact).description.class_names == ["a", "b"]


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    names = [b"caf\xe9".decode(errors="surrogateescape"), "b"]
    assert open_artifact(write(tmp_path, class_names=names)).description.class_names == names


def test_every_flipped_bit_is_noticed(artifact: Path) -> None:
    for name in ("model.json", "model.safetensors"):
        path = artifact / name
        whole = path.read_bytes()
        for place in range(0, len(whole), 7):
            if whole[place : place + 1].isspace():
                continue  # the layout of model.json may change
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 7
            path.write_bytes(damaged)
            _sha256.cache_clear()  # mtime may be the same in so short a time
            assert str(artifact) in message_of(artifact), place
        path.write_bytes(whole)
        _sha256.cache_clear()
        open_artifact(artifact)


@pytest.mark.parametrize("keep", [0, 4, 30, -1])
def test_truncated_weights(artifact: Path, keep: int) -> None:
    path = artifact / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "model.safetensors is damaged" in message_of(artifact)


def test_half_of_a_pair(artifact: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other", seed=1)
    (artifact / "model.json").rename(tmp_path / "model.json")
    assert "holds no model.json" in message_of(artifact)
    (other / "model.safetensors").rename(artifact / "model.safetensors")
    assert "model.safetensors is missing" in message_of(other)
    (tmp_path / "model.json").rename(artifact / "model.json")
    told = message_of(artifact)
    assert "model.safetensors is damaged, or of another artifact than model.json" in told
    assert "Fit again, or restore" in told


WILD: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "too many names": (
        lambda c: c.update(class_names=list(map(str, range(10**6)))),
        "1000000 class names for a head of 2",
    ),
    "a head too large": (lambda c: c["head"].update(in_features=10**6), r"head has bias [2], weight [2, 3], not"),
    "negative": (lambda c: c["head"].update(num_classes=-3), "head.linear.num_classes"),
    "bool for int": (lambda c: c["head"].update(in_features=True), "head.linear.in_features"),
    "unknown head": (lambda c: c["head"].update(type="forest"), "forest"),
    "std 0": (lambda c: c["preprocessing"].update(std=[0.5, 0.0, 0.5]), "preprocessing.std.1"),
    "huge input": (lambda c: c["preprocessing"].update(input_size=[10**9, 8]), "preprocessing.input_size.0"),
    "crop mode": (lambda c: c["preprocessing"].update(crop_mode="zoom"), "preprocessing.crop_mode"),
    "more keys": (lambda c: c["preprocessing"].update(zoom=1), "preprocessing.zoom"),
    "names twice": (lambda c: c.update(class_names=["a", "a"]), "a class name occurs twice"),
    "no text": (lambda c: c.update(class_names=["a", 3]), "class_names.1"),
    "huge kwargs": (lambda c: c["backbone"].update(kwargs={"width": 10**9}), "kwargs hold 1000000000"),
    "a list": (lambda c: c.update(backbone=[]), "backbone"),
    "lacks": (lambda c: c.pop("stage"), "lacks stage"),
    "format text": (lambda c: c.update(format="2"), "format"),
}


@pytest.mark.parametrize(("change", "told"), WILD.values(), ids=WILD)
def test_wild_values(artifact: Path, change: Callable[[dict[str, Any]], object], told: str) -> None:
    edit(artifact, change)
    message = message_of(artifact)
    assert told in message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "damaged"),
        ("[]", "a JSON object is wanted"),
        (100_000 * "[", "nested too deeply"),
        (100_000 * '{"a":', "nested too deeply"),
        ('{"a": ' + 50 * "[" + 50 * "]" + "}", "nested too deeply"),
        ('{"format": 1, "format": 2}', "'format' stands there twice"),
        ('{"format": NaN}', "no finite number"),
        ('{"format": 1e999}', "no finite number"),
        ('{"format": ' + 5000 * "9" + "}", "damaged"),
        (" " * (17 << 20), "far more than such a file needs"),
    ],
    ids=["cut", "list", "lists", "objects", "deep", "twice", "nan", "inf", "digits", "large"],
)
def test_what_is_no_description(artifact: Path, content: str, told: str) -> None:
    (artifact / "model.json").write_text(content)
    message = message_of(artifact)
    assert f"{artifact / 'model.json'}" in message
    assert told in message


def test_a_later_format(artifact: Path) -> None:
    edit(artifact, lambda content: None, version=99)
    assert "format 99" in message_of(artifact)


def header(shape: list[int], offsets: list[int]) -> bytes:
    tensors = {"head.weight": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}
    content = json.dumps(tensors).encode()
    return len(content).to_bytes(8, "little") + content


@pytest.mark.parametrize(
    "content",
    [
        header([10**6, 10**6], [0, 4 * 10**12]),
        header([2, 3], [0, 10**15]),
        header([-2, -3], [0, 24]),
        header([2, 3], [8, 32]) + bytes(32),
        (1 << 60).to_bytes(8, "little") + bytes(100),
        b"no safetensors at all",
    ],
    ids=["huge", "offsets", "negative", "gap", "header", "text"],
)
def test_nothing_is_allocated_for_a_header_that_lies(artifact: Path, content: bytes) -> None:
    (artifact / "model.safetensors").write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "model.safetensors is damaged" in message_of(artifact)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "KB"


def test_pipes_are_not_waited_for(artifact: Path) -> None:
    (artifact / "model.safetensors").unlink()
    os.mkfifo(artifact / "model.safetensors")
    assert "is missing" in message_of(artifact)


def test_a_run_that_is_not_done_is_refused(artifact: Path) -> None:
    write_status(artifact, Status.RUNNING)
    assert "still running, or was killed" in message_of(artifact)
    write_status(artifact, Status.FAILED, "disk full")
    assert "failed (disk full)" in message_of(artifact)
    write_status(artifact, Status.DONE)
    open_artifact(artifact)


def test_no_folder(tmp_path: Path) -> None:
    assert "not a folder" in message_of(tmp_path / "nowhere")


def test_a_full_disk_is_an_error_of_the_system(python: PythonStarter, tmp_path: Path) -> None:
    code = (
        "import resource, sys, torch\nfrom pathlib import Path\nfrom transferkit.artifact import write_artifact\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_artifact(Path(sys.argv[1]), {}, {'a': torch.zeros(10000)})\n"
        "except OSError as error: print('errno', error.errno)"
    )
    (tmp_path / "artifact").mkdir()
    done = python.run("-c", code, tmp_path / "artifact", cwd=tmp_path)
    assert done.stdout == "errno 27\n", done.stderr
    assert not list((tmp_path / "artifact").iterdir())

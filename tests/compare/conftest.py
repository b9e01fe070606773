import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.conftest import compose_settings
from transferkit.compare.collect import FinishedRun, read_run

WriteRun = Callable[..., Path]
MakeRun = Callable[..., FinishedRun]


def settings_of(strategy: str, seed: int, **more: Any) -> dict[str, Any]:
    """A configuration as Hydra leaves it; `more` are dotted keys with `__` for the dot."""
    data = ("dataset=folder", "dataset.root=photos", "dataset.name=toys", "backbone=resnet18")
    cfg = OmegaConf.create(compose_settings("linear_probe", *data))
    more |= {"strategy__name": strategy, "seed": seed, "cache__dir": f"cache{seed}", "trainer__num_workers": seed}
    for key, value in more.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, merge=False)
    content = OmegaConf.to_container(cfg)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """A function that writes a run directory as task=fit leaves it, and returns it."""

    def write(
        folder: str,
        strategy: str = "linear_probe",
        seed: int = 0,
        top1: float = 0.9,
        *,
        val: float = 0.8,
        seconds: float = 10.0,
        status: str = "done",
        reason: str | None = None,
        time: float = 1000.0,
        test: tuple[str, ...] = ("a", "b", "c", "d"),
        labelled: int = 6,
        right: Sequence[bool] = (),
        uncached: float | None = None,
        **more: Any,
    ) -> Path:
        run = tmp_path / folder
        if len(right):
            test, top1 = tuple(f"{i:06}" for i in range(len(right))), sum(map(int, right)) / len(right)
        (run / ".hydra").mkdir(parents=True)
        settings = settings_of(strategy, seed, **more)
        OmegaConf.save(OmegaConf.create(settings), run / ".hydra/config.yaml")
        (run / "status.json").write_text(json.dumps({"status": status, "reason": reason, "pid": 1, "time": time}))
        rows = [f"photos/{i}.jpg,cat,{'val' if i % 3 == 0 else 'train'}" for i in range(labelled)]
        rows += [f"photos/{name}.jpg,cat,test" for name in test]
        (run / "split.csv").write_bytes("\r\n".join(["path,label,split", *rows, ""]).encode())
        if len(right):
            told = [
                f"{name}.jpg,cat,{'cat' if hit else 'dog'},0.9,cat|dog" for name, hit in zip(test, right, strict=True)
            ]
            (run / "predictions.csv").write_text("\n".join(["image,label,predicted,confidence,top5", *told, ""]))
        if status == "done":
            metrics = {
                "test": {"top1": top1, "balanced_accuracy": top1 - 0.1, "n": len(test)},
                "val": {"top1": val, "n": 2},
                "strategy": strategy,
                "backbone": settings["backbone"]["name"],
                "weights": "IMAGENET1K_V1",
                "dataset": settings["dataset"]["name"],
                "seed": seed,
                "num_classes": 2,
                "trainable_parameters": 1026,
                "seconds": {"total": seconds},
                **({} if uncached is None else {"cached": {"images": 5, "seconds": uncached - seconds}}),
            }
            (run / "metrics.json").write_text(json.dumps(metrics))
        return run

    return write


@pytest.fixture
def make_run(write_run: WriteRun) -> MakeRun:
    """A function that writes a run directory under the next free name, and reads it back."""
    count = 0

    def make(*arguments: Any, **options: Any) -> FinishedRun:
        nonlocal count
        count += 1
        run = read_run(write_run(f"made/{count}", *arguments, **options))
        assert isinstance(run, FinishedRun)
        return run

    return make

"""task=embed: features of a folder, a file or a glob of images as an array or a table, for search and clustering."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.arrays import Features
from transferkit.backbones.backbone import Backbone
from transferkit.cli.embed_index import import_faiss, write_index
from transferkit.cli.predict import images_at, tell_unreadable
from transferkit.cli.prepare import load_backbone
from transferkit.data.imageset import ImageSet
from transferkit.errors import TransferkitError, shown_text
from transferkit.extras import import_extra
from transferkit.features.extract import join_stages
from transferkit.features.from_settings import make_extractor
from transferkit.files import new_file, write_csv, write_json
from transferkit.models.transfer_model import load_model
from transferkit.progress import progress
from transferkit.report.run_files import shown_path
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Compute and write the features of `images=`, of a backbone or of the model of `run=`.

    Args:
        settings: The resolved configuration.
        run_dir: Gets `embeddings.npy` and `embeddings.csv`, or `embeddings.parquet`; `embeddings.faiss` if asked
            for; `embed.json`; and `unreadable.csv` if needed.
    """
    if not settings["images"]:
        raise TransferkitError("task=embed needs images=, a folder, a file or a quoted glob such as 'photos/*.jpg'.")
    write = write_npy
    if settings["task"]["format"] == "parquet":
        import_pyarrow()  # before the work
        write = write_parquet
    indexed = settings["embed"]["index"] is not None
    if indexed:
        import_faiss()
    timer = StepTimer()
    backbone, stages, pool = network(settings)
    with timer.step("data"):
        paths = images_at(settings["images"])
        images = readable(ImageSet.from_files(paths, np.zeros(len(paths))), run_dir)
    with timer.step("extract"):
        features = join_stages(make_extractor(settings)(backbone, images, stages, pool), stages)
    file = write(run_dir, images.names, features)
    index = write_index(run_dir / "embeddings.faiss", features) if indexed else None
    description = {
        "backbone": backbone.spec.name,
        "weights": backbone.weights_name,
        "run": str(Path(settings["run"]).expanduser().resolve()) if settings["run"] else None,
        "stages": stages,
        "pool": pool,
        "images": len(images),
        "features": features.shape[1],
        "index": None if index is None else {"file": index.name, "score": "cosine similarity"},
        "preprocessing": backbone.preprocess.to_dict(),
        "seconds": timer.seconds(),
    }
    write_json(run_dir / "embed.json", description)
    told = "+".join(stages), backbone.spec.name, backbone.weights_name, len(images), features.shape[1], shown_path(file)
    log.info("Features of %s of %s (%s): %d images x %d values: %s", *told)
    if index is not None:
        log.info("Index, by cosine similarity: %s", shown_path(index))


def network(settings: Mapping[str, Any]) -> tuple[Backbone, list[str], str]:
    """Return the backbone, the stages whose features are wanted, and their pooling.

    Raises:
        TransferkitError: Neither a run nor a backbone is named, or there is no such stage.
    """
    task = settings["task"]
    if settings["run"]:
        model = load_model(settings["run"])
        backbone, stages, pool = model.backbone, model.stages, model.pool
        pool = pool if task["pool"] == "auto" else backbone.pool_name(task["pool"])
    elif "backbone" in settings["choices"]:
        backbone = load_backbone(settings["backbone"])
        stages, pool = [backbone.top], backbone.pool_name(task["pool"])
    else:
        raise TransferkitError(
            "task=embed needs run=RUN_DIR, or a backbone: backbone=efficientnet_lite0, which works without a network."
        )
    if task["stage"] is not None:
        stages = backbone.match([task["stage"]], "task.stage", head=False)
    if not stages:
        raise TransferkitError(f"task.stage={task['stage']} matches none of {', '.join(backbone.feature_stages)}.")
    return backbone, stages, pool


def readable(images: ImageSet, run_dir: Path) -> ImageSet:
    """Return the images that can be decoded; the others are listed in the log and in `unreadable.csv`.

    Raises:
        TransferkitError: None can.
    """
    with progress("Checking images", len(images)) as advance:
        reasons = dict(images.unreadable(advance, thorough=True))
    names = images.names
    tell_unreadable([(names[index], reason) for index, reason in reasons.items()], len(images), run_dir)
    return images.subset(np.setdiff1d(np.arange(len(images)), list(reasons))) if reasons else images


def write_npy(run_dir: Path, names: Sequence[str], features: Features) -> Path:
    """Write `embeddings.npy`, float32 (N, D), and `embeddings.csv`, the path of each row; return the former."""
    path = run_dir / "embeddings.npy"
    with new_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, features)
    write_csv(run_dir / "embeddings.csv", ["image"], ([name] for name in names))
    return path


def write_parquet(run_dir: Path, names: Sequence[str], features: Features) -> Path:
    """Write `embeddings.parquet`: `image`, the path, and `embedding`, a list of D float32."""
    pyarrow, parquet = import_pyarrow()
    path = run_dir / "embeddings.parquet"
    values = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(features.ravel()), features.shape[1])
    table = pyarrow.table({"image": [shown_text(name) for name in names], "embedding": values})
    with new_file(path) as temporary:
        parquet.write_table(table, temporary)
    return path


def import_pyarrow() -> tuple[Any, Any]:
    """Return the modules pyarrow and pyarrow.parquet.

    Raises:
        TransferkitError: They are not installed.
    """
    need = "task.format=parquet needs pyarrow"
    pyarrow, parquet = import_extra(need, "parquet", "pyarrow", "pyarrow.parquet", otherwise=", or task.format=npy")
    return pyarrow, parquet

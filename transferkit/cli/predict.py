"""task=predict: the predictions of a fitted model for a folder, a file or a glob of images."""

import glob
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.cli.evaluate import required_run
from transferkit.data.folder_walk import FolderWalk, ignored_files, unreadable_folders
from transferkit.data.images import UnreadableImage, decode
from transferkit.errors import TransferkitError
from transferkit.files import write_csv
from transferkit.models.ensemble import EnsembleModel, load_model
from transferkit.models.transfer_model import TransferModel
from transferkit.progress import progress
from transferkit.report.command_text import command_line, command_of, kept_arguments
from transferkit.report.parts_by_target import TABLES
from transferkit.report.predict_page import Predicted, write_predict_page
from transferkit.report.probability_table import class_columns
from transferkit.report.run_files import shown_path
from transferkit.report.target_parts import TableParts
from transferkit.report.top5 import join_names
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)

UNREADABLE_SHOWN = 10

FIRST_COLUMN = "image"
KNOWN_COLUMNS = ("known", "distance")
SET_COLUMN = "set"


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Predict `images=` with the model of `run=`; write predictions.csv, report.html, and unreadable.csv if needed."""
    timer, run = StepTimer(), required_run(settings)
    if not settings["images"]:
        raise TransferkitError("task=predict needs images=, a folder, a file or a quoted glob such as 'photos/*.jpg'.")
    paths = images_at(settings["images"])
    model = load_model(run)
    unreadable: list[tuple[str, str]] = []
    coverage = settings["task"]["coverage"]
    rows = list(predict_files(model, paths, settings["trainer"]["batch_size"], unreadable, coverage))
    tell_unreadable(unreadable, len(paths), run_dir)
    more = [*(KNOWN_COLUMNS if model.known else ()), *([SET_COLUMN] if coverage else [])]
    parts = TABLES[model.target.kind]
    columns = parts.header(model.target)
    before = [FIRST_COLUMN, *columns.first, *more]
    header = [*before, *class_columns(columns.last, before)]
    write_csv(run_dir / "predictions.csv", header, ([path, *format_prediction(p, parts)] for path, p in rows))
    found = Predicted(
        rows,
        str(shown_path(run.resolve())),
        command_line(),
        command_of(*kept_arguments("hydra."), "task.coverage=0.9")
        if coverage is None and model.held_out_scores is not None
        else "",
        len(unreadable),
        settings["images"] if isinstance(settings["images"], str) else ", ".join(settings["images"]),
        timer.seconds()["total"],
    )
    where = shown_path(run_dir)
    report = ""
    if model.target.exclusive:
        write_predict_page(run_dir / "report.html", found)
        report = f"\nReport: {where / 'report.html'}"
    log.info(
        "%s\nPredictions of %d images: %s%s",
        *(table(rows, parts), len(rows), where / "predictions.csv", report),
        extra={"result": "Predictions of"},
    )


def tell_unreadable(unreadable: Sequence[tuple[str, str]], total: int, run_dir: Path) -> None:
    """List the images that cannot be read, if any, in the log and in `unreadable.csv`.

    Args:
        unreadable: (path, reason) of each.
        total: Images altogether.
        run_dir: Gets the table.

    Raises:
        TransferkitError: None of them can be read.
    """
    if not unreadable:
        return
    write_csv(run_dir / "unreadable.csv", ["image", "reason"], unreadable)
    listed = "\n".join(f"  {path}: {reason}" for path, reason in unreadable[:UNREADABLE_SHOWN])
    more = f"\n  ... full list: {run_dir / 'unreadable.csv'}" if len(unreadable) > UNREADABLE_SHOWN else ""
    log.warning("%d of %d images cannot be read and are skipped:\n%s%s", len(unreadable), total, listed, more)
    if len(unreadable) == total:
        raise TransferkitError(f"None of the {total} images at images= can be read.")


def images_at(images: str | Sequence[str]) -> list[Path]:
    """Return the image files of `images=`: a folder (searched recursively), a file, a glob, or a list of these."""
    if not isinstance(images, str):
        return [path for one in images for path in images_at(one)]
    path = Path(images).expanduser()
    if path.is_dir():
        walk = FolderWalk()
        found = walk.images(path)
        if walk.unreadable:
            raise unreadable_folders(walk.unreadable)
        if walk.ignored:
            log.info("%s", ignored_files(walk.ignored))
    elif path.exists():
        found = [path]
    else:
        found = sorted(file for file in _matches(path) if file.is_file())
    if not found:
        raise TransferkitError(f"images={images}: no image found there; name a folder, a file or a quoted glob.")
    return found


def _matches(pattern: Path) -> Iterable[Path]:
    """The paths that match a pattern; `**` stands for any folders below, but follows no links, which may lead back."""
    if "**" not in pattern.parts:
        return map(Path, glob.glob(str(pattern)))
    start, below = Path(pattern.anchor), pattern.relative_to(pattern.anchor)
    if below.name == "**":
        below /= "*"
    hidden = [part for part in below.parts if part.startswith(".")]
    found = start.glob(str(below))
    return (path for path in found if hidden or not any(part.startswith(".") for part in path.relative_to(start).parts))


def predict_files(
    model: TransferModel | EnsembleModel,
    paths: Sequence[Path],
    batch_size: int,
    unreadable: list[tuple[str, str]],
    coverage: float | None = None,
) -> Iterator[tuple[str, Any]]:
    """Yield (path, prediction) of the files that can be read; append (path, reason) of the others to `unreadable`."""
    with progress("Predicting", len(paths)) as advance:
        for start in range(0, len(paths), batch_size):
            chunk = paths[start : start + batch_size]
            readable = []
            for path in chunk:
                try:
                    readable.append((str(path), decode(path)))
                except UnreadableImage as error:
                    unreadable.append((str(path), error.reason))
            names = [path for path, _ in readable]
            predictions = model.predict([image for _, image in readable], batch_size, names, coverage)
            yield from zip(names, predictions, strict=True)
            advance(len(chunk))


def format_prediction(prediction: Any, parts: TableParts = TABLES["class"]) -> list[str]:
    """Return the cells after the image's name: class, its probability, what else there is, that of each class."""
    first, last = parts.cells(prediction)
    cells = [*first]
    if prediction.distance is not None:
        cells += ["true" if prediction.known else "false", f"{prediction.distance:.6f}"]
    if getattr(prediction, "classes", None) is not None:
        cells.append(join_names(prediction.classes))
    return [*cells, *last]


def table(rows: Sequence[tuple[str, Any]], parts: TableParts, shown: int = 10) -> str:
    """Return the first predictions as lines for the screen."""
    lines = [
        f"  {parts.brief(prediction)}  {path}"
        + ("   (unlike the training images)" if prediction.known is False else "")
        for path, prediction in rows[:shown]
    ]
    return "\n".join([*lines, "  ..."] if len(rows) > shown else lines)

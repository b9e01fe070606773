"""task=fuse: one model of several fitted ones: the mean of their probabilities, or a soup of their weights."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.artifact import open_artifact
from transferkit.cli.evaluate import data_to_evaluate, labels_of_model
from transferkit.cli.joined import Join, Member, show, write_mean, write_soup
from transferkit.compare.comparison import folders
from transferkit.data.imagedata import ImageData
from transferkit.ensemble_artifact import MOST_MEMBERS, copy_member, is_ensemble, open_ensemble, read_notes
from transferkit.errors import TransferkitError
from transferkit.features.from_settings import make_extractor
from transferkit.files import write_json
from transferkit.models.protocols import center_probabilities, run_protocols
from transferkit.models.soup import check_ingredients
from transferkit.models.transfer_model import load_model
from transferkit.report.run_files import shown_path, write_splits
from transferkit.timing import StepTimer

log = logging.getLogger(__name__)


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Join the models of `runs=`; write the artifact, metrics.json, predictions.csv and report.html."""
    timer, how = StepTimer(), settings["task"]["how"]
    if not settings["runs"]:
        raise TransferkitError("task=fuse needs runs=[RUN_DIR,RUN_DIR], the run directories of two or more fits.")
    artifacts = members_of(folders(settings["runs"]))
    if how != "mean":
        check_ingredients([open_artifact(folder) for folder in artifacts])
    with timer.step("data"):
        data = data_to_evaluate(settings, read_notes(artifacts[0]))
        if "dataset" not in settings["choices"]:
            refuse_leaks(artifacts)
        write_splits(run_dir, data)
    with timer.step("evaluate"):
        members = list(evaluate_members(settings, artifacts, data))
    notes = {key: read_notes(artifacts[0]).get(key) for key in ("dataset", "strategy", "seed")}
    join = Join(settings, run_dir, data, members, notes)
    if how == "mean":
        for place, member in enumerate(members, start=1):
            copy_member(member.folder, run_dir / "members" / str(place))
        metrics = write_mean(join, [run_dir / "members" / str(place + 1) for place in range(len(members))])
    else:
        metrics = write_soup(join, how)
    write_json(run_dir / "metrics.json", {**metrics, "seconds": timer.seconds()})
    show(metrics, run_dir)


def members_of(runs: Sequence[Path]) -> list[Path]:
    """Return the artifacts of run directories; of an ensemble those of its members.

    Raises:
        TransferkitError: There are fewer than two, or too many; or one is damaged.
    """
    found: list[Path] = []
    for run in runs:
        folder = run.expanduser().absolute()
        found += [artifact.folder for artifact in open_ensemble(folder)[2]] if is_ensemble(folder) else [folder]
    if not 2 <= len(found) <= MOST_MEMBERS:
        raise TransferkitError(f"task=fuse joins 2 to {MOST_MEMBERS} models, not {len(found)}: runs=[RUN_DIR,RUN_DIR].")
    return found


def evaluate_members(settings: Mapping[str, Any], artifacts: Sequence[Path], data: ImageData) -> Iterator[Member]:
    """Yield the members with their results; one is in memory at a time."""
    extract = make_extractor(settings)
    for folder in artifacts:
        model = load_model(folder)
        labels_of_model(data, model.target)
        tested = run_protocols(settings, model, data.test, extract)
        val = center_probabilities(model, data.val, extract)
        yield Member(folder, str(shown_path(folder)), model.target, tested, val)


def refuse_leaks(runs: Sequence[Path]) -> None:
    """Refuse runs whose training images include test images of the first, by their `split.csv`.

    Raises:
        TransferkitError: They do.
    """
    tables = {run: split_of(run) for run in runs}
    test = {image for image, split in tables[runs[0]].items() if split == "test"}
    for run, table in tables.items():
        leaked = [image for image in test if table.get(image, "test") != "test"]
        if leaked:
            raise TransferkitError(
                f"{len(leaked)} of the test images of {runs[0]} are training images of {run}, so no figure of both "
                "would be of held-out images. Fit them on one split (the same seed; ensemble=N fits several seeds on "
                "one), or name other images: dataset=...."
            )


def split_of(run: Path) -> dict[str, str]:
    """Return image to split of a run's `split.csv`; of a member of an ensemble that of the ensemble."""
    places = (run / "split.csv", run.parent.parent / "split.csv")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        log.warning("%s has no split.csv, so whether its training images are test images here is not known.", run)
        return {}
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return {row[0]: row[2] for row in csv.reader(file) if len(row) > 2}
    except (OSError, csv.Error) as error:
        raise TransferkitError(f"{path} cannot be read ({error}).") from None

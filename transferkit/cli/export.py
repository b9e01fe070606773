"""task=export: a fitted model in the formats of other programs, each compared with the model."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from transferkit.artifact import read_metadata
from transferkit.cli.evaluate import data_to_evaluate, required_run
from transferkit.cli.predict import images_at
from transferkit.config.export_keys import formats
from transferkit.data.imagedata import ImageData
from transferkit.data.images import decode
from transferkit.errors import TransferkitError
from transferkit.export.accuracy import Measured, measure
from transferkit.export.agreement import compared_images, photographs, some_images
from transferkit.export.deployed_network import DeployedNetwork
from transferkit.export.description import describe_model
from transferkit.export.exported import Exported, Exporting
from transferkit.export.formats import check_packages, write_formats
from transferkit.export.hub_folder import import_hub, push
from transferkit.export.int8 import write_int8
from transferkit.export.onnx_file import onnx_predict
from transferkit.files import write_json
from transferkit.models.transfer_model import TransferModel, load_model
from transferkit.report.parts_by_target import main_words, shown_main
from transferkit.report.run_files import shown_path

log = logging.getLogger(__name__)


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Write the model of `run=` in the formats of `export.format`.

    Args:
        settings: The resolved configuration.
        run_dir: Gets the files, and `export.json`.
    """
    wanted, chosen = settings["export"], formats(settings["export"])
    run = required_run(settings)
    check_packages(chosen)
    if wanted["push"]:
        import_hub()
    model = load_model(run)
    network = DeployedNetwork(model)
    data = _data(settings, run, needed=wanted["int8"])
    compared = compared_images(model, *_images(settings, data))
    exporting = Exporting(network, describe_model(model), compared, run_dir, run)
    exported = write_formats(exporting, chosen)
    measured = _quantised(exported, model, data) if wanted["int8"] and data else {}
    write_json(run_dir / "export.json", _facts(run, exporting, exported, measured))
    log.info("%s", summary(exporting, exported, measured))
    if wanted["push"]:
        folder = next(found for found in exported if found.format == "hub")
        log.info("  uploaded      %s", push(folder, wanted["push"]))


def _data(settings: Mapping[str, Any], run: Path, needed: bool) -> ImageData | None:
    """The data set of the fit, or of `dataset=`; None where it cannot be read here.

    Raises:
        TransferkitError: It cannot be read, and is needed, or was named.
    """
    if settings["images"] and not needed:
        return None
    try:
        return data_to_evaluate(settings, read_metadata(run))
    except TransferkitError as error:
        if needed or "dataset" in settings["choices"]:
            raise
        log.info("The data of the fit cannot be read here (%s)", str(error).splitlines()[0])
        return None


def _images(settings: Mapping[str, Any], data: ImageData | None) -> tuple[Sequence[Image.Image], str]:
    """The images on which files are compared with the model, and where they come from."""
    count = settings["export"]["images"]
    if settings["images"]:
        return [decode(path) for path in images_at(settings["images"])[:count]], "of images="
    if data is not None:
        return some_images(data.test, count), f"of the test split of {data.name}"
    return photographs(count), "parts of photographs that come with scikit-learn"


def _quantised(exported: list[Exported], model: TransferModel, data: ImageData) -> dict[str, Measured]:
    """Write the ONNX file in 8 bits, and measure both on the test split."""
    path = next(found.path for found in exported if found.format == "onnx")
    files = [path, write_int8(path)]
    labels = model.target.translated(data.target, data.test.labels, data.name)
    return measure({file.name: onnx_predict(file) for file in files}, data.test, labels, model.target, model.preprocess)


def _facts(
    run: Path, exporting: Exporting, exported: Sequence[Exported], measured: Mapping[str, Measured]
) -> dict[str, Any]:
    """The content of export.json."""
    return {
        "run": str(run.resolve()),
        **exporting.about,
        "compared": {"images": len(exporting.compared.inputs), "origin": exporting.compared.origin},
        "files": [
            {"format": one.format, "path": one.path.name, "bytes": one.bytes, "largest_difference": one.difference}
            for one in exported
        ],
        "test": {
            name: {
                "bytes": (exporting.folder / name).stat().st_size,
                "images_per_second": found.images_per_second,
                **found.metrics,
            }
            for name, found in measured.items()
        },
    }


def summary(exporting: Exporting, exported: Sequence[Exported], measured: Mapping[str, Measured]) -> str:
    """Return the files for the screen: size, difference from the model, accuracy where it was measured, and use."""
    model, compared = exporting.network.model, exporting.compared
    lines = [
        "",
        f"{model.backbone.spec.name}, stage {'+'.join(model.stages)}, {model.target.words()}, "
        f"in {shown_path(exporting.folder)}/",
        f"  {'format':14}{'file':26}{'size':>10}   largest difference of a {compared.difference_words}",
    ]
    lines += [
        f"  {one.format:14}{one.path.name:26}{megabytes(one.bytes):>10}   {one.difference:.1e}" for one in exported
    ]
    lines.append(f"  Compared with the model on {len(compared.inputs)} images {compared.origin}.")
    for name, found in measured.items():
        size = megabytes((exporting.folder / name).stat().st_size)
        score = f"{main_words(model.target.kind)} {shown_main(found.metrics[model.target.main], model.target.kind)}"
        speed = f"{found.images_per_second:.0f} images/s"
        lines.append(f"  {name:17}{size:>9}   {score} on {found.metrics['n']} images   {speed}")
    return "\n".join([*lines, *(f"  {one.format:14}{one.use}" for one in exported)])


def megabytes(count: int) -> str:
    """Return a size as text."""
    return f"{count / 1e6:.1f} MB"

"""task=compare: a comparison of the finished runs below a folder."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.compare.collect import find_runs
from transferkit.compare.compare_page import write_page
from transferkit.compare.comparison import COLUMNS, as_json, compare, csv_rows, folders, screen
from transferkit.errors import TransferkitError
from transferkit.files import write_csv, write_json
from transferkit.report.run_files import shown_path

log = logging.getLogger(__name__)


def main(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Compare the runs below `runs=`; write compare.csv, compare.json and report.html.

    Raises:
        TransferkitError: `runs=` is missing, or no run below it is finished.
    """
    if not settings["runs"]:
        raise TransferkitError("task=compare needs runs=DIR, a folder with run directories, such as multirun.")
    comparison = compare(*find_runs(folders(settings["runs"])), settings["task"]["confidence"])
    write_csv(run_dir / "compare.csv", COLUMNS, csv_rows(comparison))
    write_json(run_dir / "compare.json", as_json(comparison))
    write_page(run_dir / "report.html", comparison, settings["runs"])
    findings = [line for part in comparison.parts for line in part.findings()]
    begins = findings[0].split(":")[0].split(" with ")[0] if findings else None
    told = screen(comparison), shown_path(run_dir) / "report.html"
    log.info("%s\n\nReport with figures: %s", *told, extra={"result": begins})

"""The speed benchmark.

    python -m benchmarks.speed [--out DIR] [--data DIR] [--backbone-weights FILE] [--quick] [--rows NAME,...]

Each row is a process of its own, so that one that fails, or takes much memory, does not spoil the others. Results are
lines of JSON in OUT/results. The tables are formed from them; `--docs` writes them into docs/benchmarks.md and
benchmarks/goals.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.speed.machine import describe, set_threads
from benchmarks.speed.options import Options, load_options
from benchmarks.speed.results import Record
from benchmarks.speed.rows import ROWS, chosen
from benchmarks.speed.table import goals_markdown, markdown, replace_in

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE, GOALS_PAGE = REPOSITORY / "docs" / "benchmarks.md", REPOSITORY / "benchmarks" / "goals.md"
REAL = (
    "+backbone.kwargs.pad_type=same backbone.mean=0.5 backbone.std=0.5 backbone.interpolation=bicubic "
    "backbone.crop_pct=0.875"
)
SECONDS = 900


def main() -> None:
    given = _arguments().parse_args()
    options = Options(
        out=given.out.absolute(),
        data=given.data and given.data.absolute(),
        weights_dir=given.weights_dir and given.weights_dir.absolute(),
        real_weights=given.backbone_weights and given.backbone_weights.absolute(),
        real_overrides=given.backbone_overrides.split(),
        device=given.device,
        repeats=given.repeats or (1 if given.quick else 3),
        quick=given.quick,
    )
    if given.row:
        work(given.row, load_options(options.out / "options.json"))
        return
    failures: list[str] = []
    if not given.table_only:
        options.out.mkdir(parents=True, exist_ok=True)
        options.save(options.out / "options.json")
        set_threads(options)
        (options.out / "about.json").write_text(json.dumps(about(options, given.rows)), encoding="utf-8")
        for name in chosen(given.rows):
            start = time.perf_counter()
            failed = measure(name, options)
            failures += [name] if failed else []
            print(f"{name}: {failed or 'done'}, {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    described, measured = json.loads((options.out / "about.json").read_text(encoding="utf-8")), records(options.out)
    text = markdown(described, measured)
    (options.out / "tables.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    if given.docs:
        replace_in(PAGE, text)
        replace_in(GOALS_PAGE, goals_markdown(described, measured))
    if failures:
        sys.exit(f"Failed: {', '.join(failures)}")


def about(options: Options, rows: str | None = None) -> dict[str, str]:
    """The command and machine, shown above the tables. Paths are left out, since the page is published."""
    words = ["python -m benchmarks.speed"]
    words += [f"--{name} {shown}" for name, value, shown in (
        ("data", options.data, "DIR"), ("weights-dir", options.weights_dir, "DIR"),
        ("backbone-weights", options.real_weights, "FILE"),
    ) if value]  # fmt: skip
    words += [f"--device {options.device}"] if options.device != "cpu" else []
    words += ["--quick"] if options.quick else []
    words += [f"--rows {rows}"] if rows else []
    images = "generated" if options.data is None or options.quick else "from --data unless a row names others"
    weights = "random" if options.weights_dir is None else "from --weights-dir"
    used = f"images {images}; weights {weights}" + (
        "; ImageNet weights for MobileNetV2" if options.real_weights else ""
    )
    date = time.strftime("%Y-%m-%d")
    return {"command": f"`{' '.join(words)}`, {date}", **describe(options), "used": used}


def measure(name: str, options: Options) -> str | None:
    """Run a row in a process of its own; return its error, if any."""
    for folder in ("results", "logs", "compiled"):
        (options.out / folder).mkdir(exist_ok=True)
    result = options.out / "results" / f"{name}.jsonl"
    result.unlink(missing_ok=True)
    compiled = options.out / "compiled" / name
    shutil.rmtree(compiled, ignore_errors=True)  # so that compiling takes as long as it does for the first time
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(compiled), "OMP_NUM_THREADS": str(options.threads)}
    command = [sys.executable, "-m", "benchmarks.speed", "--out", str(options.out), "--row", name]
    log = options.out / "logs" / f"{name}.txt"
    with log.open("wb") as output:
        try:
            subprocess.run(command, stdout=output, stderr=output, env=environment, timeout=SECONDS, check=True)
        except subprocess.SubprocessError as error:
            return f"FAILED ({type(error).__name__}; see {log})"
    return None


def work(name: str, options: Options) -> None:
    """Measure a row and write its records."""
    set_threads(options)
    lines = [json.dumps(record, default=float) + "\n" for record in ROWS[name](options)]
    (options.out / "results" / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def records(out: Path) -> list[Record]:
    """All that was measured, in the order of the rows."""
    paths = [out / "results" / f"{name}.jsonl" for name in ROWS]
    return [json.loads(line) for path in paths if path.is_file() for line in path.read_text("utf-8").splitlines()]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description="Speed against other tools and the hardware's limit."
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/speed"), help="for results and images (default: runs/speed)"
    )
    parser.add_argument(
        "--data", type=Path, help="ants and bees, or any folder with train/ and val/; default: generated"
    )
    parser.add_argument("--weights-dir", type=Path, help="resnet18.safetensors, ...; default: random weights")
    parser.add_argument("--backbone-weights", type=Path, help="ImageNet weights of MobileNetV2, for the accuracies")
    parser.add_argument("--backbone-overrides", default=REAL, help=f"settings of these weights (default: {REAL})")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--repeats", type=int, help="repetitions of short measurements (default: 3)")
    parser.add_argument(
        "--quick", action="store_true", help="only checks that everything runs; the figures mean nothing"
    )
    parser.add_argument("--rows", help=f"all, or some of {', '.join(ROWS)}; default: the goals")
    parser.add_argument("--table-only", action="store_true", help="print the tables of earlier measurements")
    parser.add_argument(
        "--docs", action="store_true", help="write the tables into docs/benchmarks.md and benchmarks/goals.md"
    )
    parser.add_argument("--row", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()

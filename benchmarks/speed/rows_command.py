"""Rows about the command line: start-up, memory, sweeps; each run a process of its own, as a person starts it."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.speed import ours
from benchmarks.speed.data import ants_and_bees, generated
from benchmarks.speed.networks import random_net
from benchmarks.speed.options import Options
from benchmarks.speed.results import Record, entry, goal
from transferkit.config.choice_files import PACKAGE


@dataclass(frozen=True)
class Ran:
    """A command that ended well.

    Attributes:
        seconds: Of the clock.
        cpu: Of the processors, in it and what it started.
        megabytes: The largest resident set of it, or of any one process that it started.
    """

    seconds: float
    cpu: float
    megabytes: float


def run(options: Options, folder: Path, *arguments: str, cache: Path | None = None) -> Ran:
    """Run `python -m transferkit` in an empty folder."""
    # In that folder, too, the code that this process has.
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads), "PYTHONPATH": str(PACKAGE.parent)}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
    log = ours.empty(folder) / "output.txt"
    with log.open("wb") as output:
        start = time.perf_counter()
        command = [sys.executable, "-m", "transferkit", *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env=environment)
        _, status, usage = os.wait4(process.pid, 0)  # unlike RUSAGE_CHILDREN, of this one alone
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}\n{log.read_text()[-2000:]}")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return Ran(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def startup(options: Options) -> list[Record]:
    """`--help`, the default run, and the linear probe as a command."""
    work, cache = options.out / "runs" / "startup", ours.empty(options.out / "cache" / "startup")
    run(options, work, "--help")  # so that Python has compiled its files
    helped = [run(options, work, "--help") for _ in range(options.of(5, 2))]
    note = f"{median([ran.cpu for ran in helped]):.2f} s of CPU time; Python alone takes {_python():.2f} s"
    seconds = [ran.seconds for ran in helped]
    records = [goal("`transferkit --help`", "", seconds, [0.5], unit="s", shown="ours/theirs", at_most=1, note=note)]
    net = random_net("resnet18", options)
    where = ("dataset=folder", f'dataset.root="{ants_and_bees(options)}"', *net.overrides)
    commands: dict[str, tuple[str, ...]] = {
        "default run, empty cache": (),
        "default run, second time": (),
        "`dataset=folder strategy=linear_probe backbone=resnet18`, empty cache": where,
        "the same, second time": where,
    }
    for what, arguments in commands.items():
        ran = run(options, work, *arguments, "hydra.run.dir=run", f"trainer.device={options.device}", cache=cache)
        records.append(entry("commands", command=what, **_figures(ran, work / "run")))
    return records


def _figures(ran: Ran, folder: Path) -> dict[str, str]:
    """The time of a command by step: steps that the run times, the rest of the run, and everything outside the run."""
    seconds: dict[str, float] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["seconds"]
    steps = {name: seconds.get(name, 0.0) for name in ("data", "extract", "fit", "evaluate")}
    other = {"network and report": seconds["total"] - sum(steps.values()), "imports": ran.seconds - seconds["total"]}
    shown = {name: f"{value:.1f}" for name, value in {**steps, **other}.items()}
    times = {"seconds": f"{ran.seconds:.1f}", "CPU seconds": f"{ran.cpu:.1f}"}
    return {**times, **shown, "peak MB": f"{ran.megabytes:.0f}"}


def _python() -> float:
    """Seconds that Python takes to start and end."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        times.append(time.perf_counter() - start)
    return min(times)


def memory(options: Options) -> list[Record]:
    """Peak memory and time of a run of `stage_probe` on 1, 3 and 10 times as many images."""
    net, base = random_net("resnet18", options), options.of(300, 20)
    work, measured = options.out / "runs" / "memory", []
    records = []
    for factor in (1, 3, 10):
        train, test = base * factor * 4 // 5, base * factor // 5
        root = generated(options, train, test)
        cache = ours.empty(options.out / "cache" / "memory")
        where = ("dataset=folder", f'dataset.root="{root}"', *net.overrides, f"trainer.device={options.device}")
        ran = run(options, work, *where, "strategy=stage_probe", "hydra.run.dir=run", cache=cache)
        measured.append(ran.megabytes)
        records.append(entry("scale", images=base * factor, **_figures(ran, work / "run")))
    what, against = f"peak memory, {10 * base} files: strategy=stage_probe backbone=resnet18", f"{base} files"
    record = goal(what, against, measured[2:], measured[:1], unit="MB", shown="ours/theirs", at_most=1.1)
    return [record, *records]


def sweep(options: Options) -> list[Record]:
    """Eight jobs that share the cache against one job."""
    net, work = random_net("resnet18", options), options.out / "runs" / "sweep"
    where = ("dataset=folder", f'dataset.root="{ants_and_bees(options)}"', *net.overrides, "strategy=linear_probe")
    kinds = {"one": ("hydra.run.dir=run",), "eight": ("-m", "hydra.sweep.dir=run", "seed=range(8)")}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(options.of(2, 1)):
        for name, arguments in kinds.items():
            cache = ours.empty(options.out / "cache" / "sweep")
            ran = run(options, work, *arguments, *where, f"trainer.device={options.device}", cache=cache)
            seconds[name].append(ran.seconds)
    shutil.rmtree(options.out / "cache" / "sweep", ignore_errors=True)
    what, against = "a sweep of 8 jobs that share the cache (`-m seed=range(8)`), resnet18", "one job"
    return [goal(what, against, seconds["eight"], seconds["one"], unit="s", shown="ours/theirs")]

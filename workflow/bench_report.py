"""Time the tables and the report of the paper's study, and its largest comparison.

`make bench-report` runs it: 2 models x 3 tasks x 9 rows x 3 seeds of studies/paper.yaml, with
invented answers, head scores and contexts in their real number and size, in a temporary folder, or
in FOLDER, whose study is then kept. With --whole it is all of that study: controls, other lengths
and places, masks, patches, general abilities. The
commands are those that Snakemake prints for the study; each runs alone on one core, and its
processor seconds are given, which others at work on the machine do not add to. The bars: 60 s
for all of them, a page of 10 MB; 3 s and 1 GB for all 66 pairs of 12 systems on 1,000 items with
10,000 resamples.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
STUDY = ROOT / "studies" / "paper.yaml"
RULES = (
    "compare_heads", "compute_statistics", "compute_depths", "compare_interventions",
    "compare_general", "summarise_training", "render_report",
)  # fmt: skip
SECONDS, PAGE_MB, PAIRS_SECONDS, PAIRS_GB = 60, 10, 3, 1
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Measured(NamedTuple):
    """What a process took: processor seconds, seconds by the clock, highest resident memory."""

    seconds: float
    wall: float
    gigabytes: float


def main() -> None:
    """Simulate, run, time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the study is simulated, once")
    parser.add_argument("--rules", nargs="+", choices=RULES, help="only these")
    parser.add_argument("--whole", action="store_true", help="all of the study")
    parser.add_argument("--pairs", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.pairs:
        all_pairs()
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pairs = measured([sys.executable, str(Path(__file__).resolve()), "--pairs"], ROOT)
    print(
        f"66 pairs of 12 systems, 1,000 items: {_said(pairs)}; {_bar(pairs.seconds, PAIRS_SECONDS)}"
        f" of {PAIRS_SECONDS} s, {_bar(pairs.gigabytes, PAIRS_GB)} of {PAIRS_GB} GB",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        _run_stages(args.folder or Path(name), args.rules, whole=args.whole)


def _run_stages(folder: Path, rules: list[str] | None, *, whole: bool) -> None:
    results = folder / "results" / "paper"
    if not results.is_dir():
        _simulate(folder, results, whole=whole)
    total = 0.0
    arguments = commands(folder)
    for rule in rules or arguments:
        took = measured(arguments[rule], folder)
        total += took.seconds
        print(f"{rule}: {_said(took)}", flush=True)
        # As Snakemake does: the report reads it.
        row = f"{took.wall}\t0:00:00\t{1000 * took.gigabytes}"
        record = results / "benchmarks" / f"{rule}.tsv"
        record.write_text(f"s\th:m:s\tmax_rss\n{row}\n", encoding="utf-8")
    print(f"all: {total:.1f} s; {_bar(total, SECONDS)} of {SECONDS} s")
    page = results / "report.html"
    if page.is_file():
        size = page.stat().st_size / 1e6
        print(f"page: {size:.1f} MB; {_bar(size, PAGE_MB)} of {PAGE_MB} MB")


def _simulate(folder: Path, results: Path, *, whole: bool) -> None:
    import yaml
    from simulated_study import simulate

    from needlework.study.parsing import parse_study

    began = time.monotonic()
    study = yaml.safe_load(STUDY.read_text(encoding="utf-8"))
    if not whole:
        for section in ("controls", "masking", "patching", "general"):
            study.pop(section, None)
        study["evaluation"] |= {"lengths": [], "closed_book": False}
        for task in study["tasks"].values():
            task.pop("positions", None)
            task.pop("test_distractors", None)
        study["variants"].append("real:0.2+symbolic:0.8")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    simulate(parse_study(study), results)
    size = sum(path.lstat().st_size for path in results.rglob("*")) / 1e9
    print(f"simulated in {time.monotonic() - began:.0f} s: {size:.1f} GB", flush=True)


def commands(folder: Path) -> dict[str, list[str]]:
    """What Snakemake would run for each of `RULES` in a folder that has a study's results.

    Raises:
        RuntimeError: Snakemake refuses; most likely the simulated study lacks a file of a rule.
    """
    dry = subprocess.run(
        ["snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
         "--configfile", str(folder / "study.yaml"), "--cores", "1", "--dry-run",
         "--printshellcmds", "--forceall", "--allowed-rules", *RULES, "all"],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    shown = r"^Shell command: python scripts/(\w+)\.py (.*?) > "
    scripts = dict(re.findall(shown, dry.stdout, re.MULTILINE))
    if dry.returncode or "render_report" not in scripts:
        raise RuntimeError(f"no commands for {', '.join(RULES)}:\n{dry.stdout[-3000:]}")
    return {
        name: [sys.executable, f"{ROOT}/scripts/{name}.py", *shlex.split(scripts[name])]
        for name in RULES
        if name in scripts
    }


def measured(arguments: list[str], folder: Path) -> Measured:
    """Run a command to its end, alone.

    Raises:
        RuntimeError: it failed.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        arguments, cwd=folder, env=os.environ | _THREADS | {"PYTHONPATH": str(ROOT)}
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    took = Measured(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1e6)
    if status:
        raise RuntimeError(f"{' '.join(arguments)[:500]} failed")
    return took


def all_pairs() -> None:
    """Compare 12 systems with one another on 1,000 items of 500 clusters."""
    import numpy as np

    from needlework.statistics import PairedBootstrap

    rng = np.random.default_rng(0)
    values = rng.random((1000, 12)) < np.linspace(0.3, 0.7, 12)
    clusters = [f"c{i // 2}" for i in range(len(values))]
    both = PairedBootstrap(values, clusters, resamples=10_000, seed=0)
    found = [both.difference(a, b) for a, b in itertools.combinations(range(12), 2)]
    assert len(found) == 66


def _said(took: Measured) -> str:
    return f"{took.seconds:.1f} s ({took.wall:.1f} s by the clock), {took.gigabytes:.2f} GB"


def _bar(found: float, most: float) -> str:
    return "within the bar" if found <= most else "ABOVE THE BAR"


if __name__ == "__main__":
    main()

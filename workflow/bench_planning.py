"""Time how long Snakemake plans: the paper's study, one of 5,000 jobs, and 5,000 trivial jobs.

`make bench-planning` runs it in a temporary copy of the repository, or in FOLDER, which is kept.
Each is planned from nothing, then all its files are made empty and marked as done, with the records
that every later plan compares, and it is planned again: nothing to be done. Given are seconds by
the clock, seconds of processor time, which others at work on the machine do not add to, and the
highest resident memory. The bars: 15 s and 20 s for the paper's study, 15 s and 15 s for the one of
5,000 jobs, 1 GB. To mark 5,000 jobs as done takes Snakemake minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
MEGABYTES = 1000
# Seeds with which the paper's study, without masks and patches, has about 5,000 jobs.
SEEDS = 17
TRIVIAL = """
rule all:
    input: expand("out/{i}.e", i=range(1000))
""" + "".join(
    f"""
rule {name}:
    input: {source}
    output: "out/{{i}}.{name}"
    shell: "touch {{output}}"
"""
    for name, source in zip("abcde", ["[]", *(f'"out/{{i}}.{n}"' for n in "abcd")], strict=True)
)


class Measured(NamedTuple):
    """What a plan took, and what Snakemake said."""

    wall: float
    seconds: float
    megabytes: float
    output: str


def main() -> None:
    """Plan each study twice and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to work; kept")
    parser.add_argument("--whole", action="store_true", help="the 5,000 with masks and patches")
    parser.add_argument("--only", choices=("bare", "paper", "many"), help="one of the three")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        copy, bare = folder / "needlework", folder / "bare"
        for name in ("workflow", "needlework", "scripts", "envs", "studies", "profiles"):
            shutil.copytree(ROOT / name, copy / name, dirs_exist_ok=True)
        shutil.copy(ROOT / "Snakefile", copy)
        bare.mkdir(parents=True, exist_ok=True)
        (bare / "Snakefile").write_text(TRIVIAL, encoding="utf-8")
        (copy / "studies/many.yaml").write_text(many(args.whole), encoding="utf-8")
        trivial = None
        if args.only in (None, "bare"):
            trivial = timed("bare Snakemake", bare, [], None)
        for name, bars in (("paper", (15, 20)), ("many", (15, 15))):
            if args.only in (None, name):
                timed(name, copy, ["--configfile", f"studies/{name}.yaml"], bars, trivial)


def many(whole: bool) -> str:
    """The paper's study with more seeds; its masks and patches are many files, but few jobs."""
    study: dict[str, Any] = yaml.safe_load((ROOT / "studies/paper.yaml").read_text("utf-8"))
    study |= {"name": "many", "training_seeds": list(range(14 if whole else SEEDS))}
    if not whole:
        del study["masking"], study["patching"]
    text: str = yaml.safe_dump(study)
    return text


def timed(
    title: str,
    folder: Path,
    arguments: list[str],
    bars: tuple[int, int] | None,
    trivial: tuple[Measured, Measured] | None = None,
) -> tuple[Measured, Measured]:
    """Plan from nothing, mark everything as done, plan again; print both."""
    fresh = snakemake(folder, "-n", *arguments)
    jobs = re.findall(r"^total +(\d+)", fresh.output, re.MULTILINE)[0]
    made = placeholders(folder, arguments)
    snakemake(folder, "--touch", "--forceall", "--quiet", "all", *arguments)
    again = snakemake(folder, "-n", *arguments)
    if "Nothing to be done" not in again.output:
        raise RuntimeError(f"{title}: not all is done\n{again.output[-2000:]}")
    print(f"{title}: {jobs} jobs, {made} files")
    for n, (name, plan) in enumerate((("from nothing", fresh), ("nothing to do", again))):
        times = f", {plan.seconds / trivial[n].seconds:.1f} times bare" if trivial else ""
        bar = f" of {bars[n]} s" if bars else ""
        print(
            f"  {name}: {plan.wall:.1f} s by the clock, {plan.seconds:.1f} s of processor time"
            f"{bar}{times}, {plan.megabytes:.0f} MB",
            flush=True,
        )
    return fresh, again


def placeholders(folder: Path, arguments: list[str]) -> int:
    """Make every file of a study empty; the number of files."""
    summary = snakemake(folder, "--summary", *arguments).output.splitlines()
    paths = {line.split("\t")[0] for line in summary if line.count("\t") > 3}
    planned = snakemake(folder, "-n", "-p", *arguments).output
    paths |= set(re.findall(r"\S+/benchmarks/\S+\.tsv", planned))
    for path in paths - {"output_file"}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return len(paths) - 1


def snakemake(folder: Path, *arguments: str) -> Measured:
    """Run Snakemake to its end, alone.

    Raises:
        RuntimeError: it failed.
    """
    command = ["snakemake", "--cores", "2", "--scheduler", "greedy", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        file.seek(0)
        output = file.read()
    if status:
        raise RuntimeError(f"{' '.join(command)} failed\n{output[-2000:]}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / MEGABYTES, output)


if __name__ == "__main__":
    main()

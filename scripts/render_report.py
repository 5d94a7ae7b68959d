"""Write the figures and the page of a study from its results folder.

Reads statistics, heads, datasets and benchmarks under RESULTS; writes figures/ and report.html
there. STUDY is the study as JSON; `snakemake -n -p` prints the whole command.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.command import execute
from needlework.report.build import build_report
from needlework.study.sections import Study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True, help="results folder")
    parser.add_argument("--study", required=True, help="the study as JSON")
    parser.add_argument("--reference", required=True, help="variant to measure against")
    parser.add_argument("--benchmarks", type=Path, nargs="+", required=True, help="benchmark files")
    args = parser.parse_args()
    study = Study.model_validate_json(args.study)
    build_report(args.results, study, reference=args.reference, benchmarks=args.benchmarks)


if __name__ == "__main__":
    execute(main)

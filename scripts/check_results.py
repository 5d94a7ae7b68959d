"""Check that the files of a study are still what its jobs wrote, byte for byte.

    python scripts/check_results.py --results results/demo

Snakemake looks at the times of files; a disk that decays changes none. Where a clock was set back,
times are wrong, and it stops: --set-back mends them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import stored
from needlework.command import execute
from needlework.progress import say


def main() -> None:
    args = _arguments()
    files = list(stored.recorded_files(args.results))
    if not files:
        raise ValueError(f"{args.results} holds no record of a file; name results/<study>")
    ahead, seconds = stored.from_the_future(args.results)
    if ahead and args.set_back:
        stored.set_back(ahead, seconds)
        print(f"{len(ahead)} files are {seconds:,.0f} s earlier now; none is from the future")
    elif ahead:
        say(
            f"{len(ahead)} files are from the future, such as {ahead[0]}: a clock was set back. "
            "--set-back mends their times"
        )
    damaged = []
    for path in files:
        try:
            stored.check(path)
        except stored.Damaged as error:
            say(str(error))
            damaged.append(path)
    if damaged:
        raise ValueError(f"{len(damaged)} of {len(files)} files are damaged; they are named above")
    print(f"{len(files)} files are as they were written")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, required=True, help="the folder of a study")
    parser.add_argument("--set-back", action="store_true", help="give files from the future, which "
        "a clock that was set back leaves, earlier times")  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)

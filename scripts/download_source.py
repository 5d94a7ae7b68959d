"""Fetch the files of a public data set, checked by SHA-256, to FOLDER/<source>/.

What is there already is checked and not fetched again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.command import execute
from needlework.corpora.downloads import fetch, load_sources


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", choices=load_sources(), required=True, help="data set")
    parser.add_argument("--folder", type=Path, default=Path("data"), help="(%(default)s)")
    args = parser.parse_args()
    source = load_sources()[args.source]
    try:
        paths = fetch(source, args.folder)
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    for path in paths:
        print(path)
    print(f"{source.name}: {source.licence}. Cite {source.citation}")


if __name__ == "__main__":
    execute(main)

"""Make a base model loadable and record what later jobs need to know of it.

A bundled model is written out as an ordinary checkpoint beside the record; a folder or a hub model
stays where it is. Writes OUTPUT (base.json).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True, help="bundled name, folder, or hub id")
    parser.add_argument("--revision", help="commit, tag or branch of a hub model")
    parser.add_argument("--output", type=Path, required=True, help="base.json to write")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    models.limit_threads(args.threads)
    base = models.prepare(args.source, args.output.parent, args.revision)
    print(base.model_dump_json(indent=1))


if __name__ == "__main__":
    main()

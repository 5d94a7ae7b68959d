"""Compare every run's retrieval heads with those of real data: recall, precision, cosine.

Writes OUTPUT (head_similarity.csv).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework.atomic import write_text
from needlework.heads.similarity import similarity_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="probe files (JSON)")
    parser.add_argument("--reference", required=True, help="variant whose heads are the measure")
    parser.add_argument("--top", type=int, required=True, help="size of the top-k head sets")
    parser.add_argument("--output", type=Path, required=True, help="table to write (CSV)")
    args = parser.parse_args()
    table = similarity_table(args.scores, reference=args.reference, top_count=args.top)
    write_text(args.output, table.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    main()

"""Convert head scores between our file and those of Wu et al., HeadKV, QRHead and DuoAttention.

The format of INPUT is detected. What the target takes and INPUT does not hold is refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from needlework.command import execute
from needlework.heads import formats
from needlework.heads.score_file import Scores, read_scores, write_scores


def main() -> None:
    args = _arguments()
    try:
        _write(args, *_read(args))
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error


def _read(args: argparse.Namespace) -> tuple[Scores | None, Scores, int | None]:
    """The scores of every instance where the input has them, the means, how many KV heads."""
    match formats.detect(args.input):
        case args.to:
            raise ValueError(f"{args.input}: is in the format {args.to} already")
        case "needlework":
            ours = read_scores(args.input)
            kind, role = _kind_and_role(args) if args.measure else (None, None)
            counted = (kind, role, args.instances)
            numbers = sorted({layer.kv_heads for layer in ours.layers})
            if args.to == "duoattention" and len(numbers) > 1:
                raise ValueError(
                    f"{args.input}: layers have {numbers} KV heads; {args.to} has as many numbers "
                    "for every layer"
                )
            return ours.of(*counted), ours.mean(*counted), numbers[0]
        case "retrieval_head":
            scores = formats.read_retrieval_head(args.input)
            return scores, scores.mean(axis=0), args.kv_heads
        case "qrhead":
            layers, heads = _given(args, "layers"), _given(args, "heads")
            return None, formats.read_qrhead(args.input, layers, heads), args.kv_heads
        case other:
            raise ValueError(
                f"{args.input}: {other} has a number per KV head; {args.to} takes one per query "
                "head, which nothing in the file tells"
            )


def _write(
    args: argparse.Namespace, scores: Scores | None, means: Scores, kv_heads: int | None
) -> None:
    if args.to == "qrhead":
        formats.write_qrhead(args.output, means, args.top)
    elif args.to == "duoattention":
        kv_heads = _given(args, "kv_heads") if kv_heads is None else kv_heads
        formats.write_duoattention(args.output, means, kv_heads)
    elif scores is None:
        raise ValueError(f"{args.input}: has means; {args.to} takes the scores of every instance")
    elif args.to == "retrieval_head":
        formats.write_retrieval_head(args.output, scores)
    else:
        kind, role = _kind_and_role(args)
        kv_heads = _given(args, "kv_heads")
        ours = formats.as_head_scores(scores, kind, role, kv_heads, args.input.name)
        write_scores(args.output, ours)


def _given(args: argparse.Namespace, name: str) -> Any:
    value = getattr(args, name)
    if value is None:
        flag = f"--{name.replace('_', '-')}"
        raise ValueError(f"{args.input}: does not say what {args.to} takes; give {flag}")
    return value


def _kind_and_role(args: argparse.Namespace) -> tuple[str, str]:
    kind, slash, role = _given(args, "measure").partition("/")
    if not slash:
        raise ValueError(f"--measure is {args.measure!r}; it takes KIND/ROLE, such as copy/answer")
    return kind, role


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="head scores, in any format")
    parser.add_argument("--to", choices=formats.FORMATS, required=True, help="format to write")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument(
        "--measure",
        help="KIND/ROLE, such as copy/answer: which of our file (none: as its probe says); of "
        "another tool's, what its scores are",
    )
    parser.add_argument(
        "--instances", choices=["all", "correct"], help="of our file (none: as its probe says)"
    )
    parser.add_argument("--top", type=int, help="heads of a qrhead list (none: all)")
    parser.add_argument("--layers", type=int, help="of the model of a qrhead list")
    parser.add_argument("--heads", type=int, help="query heads per layer, of a qrhead list")
    parser.add_argument("--kv-heads", type=int, help="per layer, of what is not our file")
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)

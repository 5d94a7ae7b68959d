"""Make a base model loadable and record what later jobs need to know of it.

A bundled model is written out as an ordinary checkpoint beside the record; a folder or a hub model
stays where it is. With --context-method, a model for longer contexts is written beside the record:
a config.json, and links to the weights. Writes OUTPUT (base.json).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import models
from needlework.command import execute


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    context = args.context_method and models.ContextExtension(
        args.context_method, args.trained_length, args.context_length, args.theta, args.window
    )
    base = models.prepare(
        args.source, args.output.parent, args.revision, context or None, args.tokenizer
    )
    print(base.model_dump_json(indent=1))


def _window(text: str) -> int | str:
    return text if text in ("scale", "keep") else int(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--source", required=True, help="bundled name, folder, hub id; a hosted model's API name")
    add("--revision", help="commit, tag or branch of a hub model")
    add("--context-method", choices=models.METHODS, help="how to extend the context")
    add("--trained-length", type=int, help="tokens it was trained at (its positions)")
    add("--context-length", type=int, help="tokens to extend it to; with --context-method")
    add("--theta", type=float, help="RoPE base, for method theta (by the formula)")
    add("--window", type=_window, default="scale", help="scale, keep, or tokens (%(default)s)")
    add("--hosted", action="store_true", help="the model runs behind an API")
    add("--tokenizer", help="of a hosted model: bundled name, folder or hub id to count with")
    add("--output", type=Path, required=True, help="base.json to write")
    add("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    args = parser.parse_args()
    if args.hosted != (args.tokenizer is not None):
        parser.error("--hosted and --tokenizer go together")
    if (args.context_method is None) != (args.context_length is None):
        parser.error("--context-method and --context-length go together")
    return args


if __name__ == "__main__":
    execute(main)

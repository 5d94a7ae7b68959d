"""Time the symbolic training set of the paper's size: 1,400 examples of 32,768 tokens.

`make bench-data` runs it. It draws real examples of the Factbook, makes the dictionaries, checks
every example as a model will read it and writes dataset and card; what is timed is all of that but
the drawing. Prints seconds, peak memory and tokens.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from transformers import AutoTokenizer

from needlework.corpora.factbook_chain import factbook_chain
from needlework.examples import write_examples
from needlework.models import bundled_gguf
from needlework.rendering.room import Room
from needlework.synthesis.building import Builder
from needlework.synthesis.dataset import write_dataset
from needlework.synthesis.leaks import EvaluationData
from needlework.synthesis.names import possible_names
from needlework.synthesis.variants import Materials


def main() -> None:
    """Draw, make and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1400)
    parser.add_argument("--length", type=int, default=32_768)
    parser.add_argument("--threads", type=int, default=2, help="processes")
    args = parser.parse_args()
    gguf = bundled_gguf()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Short real examples: of these only the questions and the places of their needles count.
        drawn = factbook_chain(
            train=args.examples + 40, validation=4, test=100, seed=0, room=Room([tokenizer], 512)
        )
        for split in ("train", "validation"):
            write_examples(folder / f"{split}.jsonl", getattr(drawn, split))
        began = time.monotonic()
        materials = Materials(Room([tokenizer], args.length), 0, possible_names([tokenizer]))
        builder = Builder(
            materials, {"model": tokenizer}, args.length, EvaluationData.of(drawn.test)
        )
        record = write_dataset(
            builder,
            "symbolic",
            folder,
            {"train": args.examples, "validation": 4},
            folder / "symbolic",
            workers=args.threads,
            generator=None,
        )
        seconds = time.monotonic() - began
        size = (folder / "symbolic/train.jsonl").stat().st_size
    made, tokens = (record["splits"]["train"][key] for key in ("made", "tokens"))
    peak = sum(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(
        f"{made} examples of {tokens['model']['min']} to {tokens['model']['max']} tokens in "
        f"{seconds:.0f} s with {args.threads} processes; {size / 2**20:.0f} MiB; the largest two "
        f"processes together {peak / 2**20:.2f} GiB"
    )


if __name__ == "__main__":
    main()

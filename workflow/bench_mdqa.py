"""Time the drawing of long mdqa examples from a pool of passages, BM25, and writing them.

    python workflow/bench_mdqa.py --questions nq-open-oracle.jsonl.gz --passages passages.jsonl.gz

Prints seconds, highest memory, examples and tokens. The bar: 2,000 questions of 32,768 tokens in at
most 5 minutes on two cores.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from transformers import AutoTokenizer

from needlework.corpora.mdqa import mdqa
from needlework.examples import write_examples
from needlework.models import bundled_gguf
from needlework.rendering.room import Room


def main() -> None:
    """Draw, write and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--questions", type=Path, required=True, help="nq-open-oracle.jsonl(.gz)")
    parser.add_argument("--passages", type=Path, required=True, help="pool as .jsonl(.gz)")
    parser.add_argument("--number", type=int, default=2000, help="questions (%(default)s)")
    parser.add_argument("--length", type=int, default=32768, help="tokens (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (%(default)s)")
    args = parser.parse_args()
    gguf = bundled_gguf()
    tokenizer = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)

    start = time.perf_counter()
    room = Room([tokenizer], args.length)
    corpus = mdqa(
        train=args.number // 2, validation=args.number // 10,
        test=args.number - args.number // 2 - args.number // 10,
        seed=0, room=room, path=args.questions, passages=args.passages, threads=args.threads,
    )  # fmt: skip
    drawn = time.perf_counter()
    examples = [*corpus.train, *corpus.validation, *corpus.test]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "examples.jsonl"
        write_examples(path, examples)
        written = time.perf_counter()
        size = path.stat().st_size
    tokens = sum(room.size(document) for example in examples for document in example.documents)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    print(f"drawn in {drawn - start:.1f} s, written in {written - drawn:.1f} s")
    print(f"together {written - start:.1f} s, highest memory {memory:.2f} GiB")
    print(f"{len(examples)} examples, {tokens} tokens, {size / 2**20:.0f} MiB of JSON lines")
    print(corpus.counts)


if __name__ == "__main__":
    main()

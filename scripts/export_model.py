"""Merge an adapter into its base model: one ordinary model folder, for vLLM and other tools.

config.json is the base's, with its RoPE base and window in the words of transformers 5 and of older
tools. The sum is taken in float32 and written in the precision of the base's own weights unless
another is asked for. Writes OUTPUT, a folder, with a README of where it came from.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from needlework import models
from needlework.adapters import adapter_hash, merged, training_seed
from needlework.atomic import write_json, write_text
from needlework.command import execute
from needlework.models.context import TOKENIZER_FILES, with_rope
from needlework.provenance import versions


def main() -> None:
    args = _arguments()
    models.limit_threads(args.threads)
    import torch

    base = models.Base.read(args.base)
    model = merged(models.load_model(base, dtype="float32"), base, args.adapter)
    config = json.loads((Path(base.path) / "config.json").read_text(encoding="utf-8"))
    dtype = args.dtype or config.get("dtype") or config.get("torch_dtype") or "float32"
    model.to(getattr(torch, dtype)).save_pretrained(args.output)
    for pattern in TOKENIZER_FILES:
        for file in Path(base.path).glob(pattern):
            if file.name != "config.json" and ".safetensors" not in file.name:
                shutil.copy(file, args.output / file.name)
    if "rope_type" in base.rope and "text_config" not in config:
        config = with_rope(config, base.rope)
    write_json(
        args.output / "config.json", config | {"dtype": dtype, "torch_dtype": dtype}, recorded=False
    )
    write_text(args.output / "README.md", _readme(base, args.adapter, args.output, dtype))


def _readme(base: models.Base, adapter: Path, output: Path, dtype: str) -> str:
    rows = {
        "base model": base.source,
        "commit": base.revision,
        "weights of the base model (SHA-256)": base.weights_sha256,
        "context": json.dumps(base.context),
        "RoPE": json.dumps(base.rope),
        "sliding window": base.sliding_window,
        "adapter": adapter.resolve().name,
        "weights of the adapter (SHA-256)": adapter_hash(adapter),
        "training seed": training_seed(adapter),
        "weights here (SHA-256)": models.base_of(output).weights_sha256,
        "precision": dtype,
        "merged with": ", ".join(f"{k} {v}" for k, v in versions().items()),
    }
    lines = [f"| {key} | {'–' if value is None else value} |" for key, value in rows.items()]
    return "\n".join(
        [
            "# A base model and an adapter, merged", "",
            "Written by needlework. Load it as any model folder; it needs no adapter.", "",
            "| what | which |", "| --- | --- |", *lines, "",
        ]
    )  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--base", type=Path, required=True, help="base.json of the base model")
    add("--adapter", type=Path, required=True, help="folder of the adapter")
    add("--dtype", choices=models.DTYPES[1:], help="precision to write (the base's)")
    add("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    add("--output", type=Path, required=True, help="folder to write")
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)

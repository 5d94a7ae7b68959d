"""Planning stays quick: parsing the workflow imports nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HEAVY = {"torch", "transformers", "peft", "scipy", "matplotlib", "tokenizers", "openai"}


def test_the_workflow_imports_nothing_heavy(root: Path) -> None:
    rules = (root / "workflow/rules/common.smk").read_text(encoding="utf-8")
    imports = "from needlework" + rules.partition("from needlework")[2].partition("\ntry:")[0]
    code = f"{imports}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.split())

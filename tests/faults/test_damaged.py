"""Files of a finished study are damaged: what reads them stops with what mends them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.finals import differing, finals
from tests.workflow.running import command, environment, snakemake

RUN = "tiny/factbook_lookup/real/seed0"
# A file of each stage, and a script that reads it, with a word of its command line.
READERS = {
    "models/tiny/base.json": ("score_heads", "untuned"),
    "corpora/factbook_lookup/train.jsonl": ("build_dataset", "low_low"),
    "corpora/factbook_lookup/validation.jsonl": ("score_heads", "untuned"),
    "corpora/factbook_lookup/test.jsonl": ("predict_answers", "untuned"),
    "corpora/factbook_lookup/corpus.json": ("render_report", ""),
    "generations/factbook_lookup/rewrites.jsonl": ("build_dataset", "high_high"),
    "generations/factbook_lookup/documents.jsonl": ("build_dataset", "high_high"),
    "generations/factbook_lookup/documents.json": ("render_report", ""),
    "datasets/factbook_lookup/low_low/train.jsonl": ("train_adapter", "low_low"),
    "datasets/factbook_lookup/low_low/dataset.json": ("render_report", ""),
    f"adapters/{RUN}/adapter_model.safetensors": ("score_heads", RUN),
    f"adapters/{RUN}/adapter_config.json": ("score_heads", RUN),
    f"adapters/{RUN}/training.json": ("summarise_training", ""),
    f"heads/{RUN}/validation.json": ("compare_heads", ""),
    f"predictions/{RUN}/plain.jsonl": ("compute_statistics", ""),
    f"predictions/{RUN}/mask-top2-zero-decoding.jsonl": ("compare_interventions", ""),
    f"interventions/{RUN}/mask-top2-zero-decoding.json": ("compare_interventions", ""),
    "attention/tiny/factbook_lookup.json": ("render_report", ""),
    "statistics/head_similarity.csv": ("compute_statistics", ""),
    "statistics/scores.csv": ("render_report", ""),
    "statistics/training.csv": ("render_report", ""),
    "statistics/interventions.csv": ("render_report", ""),
}


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0b100
    path.write_bytes(content)


def _remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


@pytest.fixture(scope="module")
def commands(ran: Path) -> list[str]:
    """The command line of every job, as Snakemake runs it, without where its words go."""
    shown = snakemake(ran, "--dry-run", "--printshellcmds", "--forceall")
    return re.findall(r"^Shell command: (python .*?) > \S+ 2>&1$", shown, re.MULTILINE)


@pytest.mark.faults
@pytest.mark.parametrize("damage", [_truncate, _flip])
@pytest.mark.parametrize("file", READERS)
def test_what_reads_a_damaged_file_says_so(
    ran: Path, commands: list[str], file: str, damage: Callable[[Path], None]
) -> None:
    script, word = READERS[file]
    reader = next(each for each in commands if script in each and word in each)
    path = ran / "results/smoke" / file
    kept = path.with_name(f".{path.name}.kept")
    shutil.copy2(path, kept)
    try:
        damage(path)
        done = subprocess.run(
            reader, shell=True, cwd=ran, env=environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    finally:
        os.replace(kept, path)
    error = done.stderr.splitlines()[-1]
    print(error)
    assert done.returncode == 1
    assert error.startswith(f"error: results/smoke/{file} is not what was written there")
    assert f"rm results/smoke/{file}, then run the same command again" in error
    assert "Traceback" not in done.stderr


@pytest.mark.faults
def test_a_study_damaged_all_over_is_mended_as_its_messages_say(
    finished: Path, wanted: dict[str, str]
) -> None:
    results = finished / "results/smoke"
    damages = (_truncate, _flip, _remove_folder)
    for number, file in enumerate(READERS):
        if (results / file).exists():
            damages[number % 3](results / file)
    stops = 0
    while (run := _run(finished)).returncode:
        stops += 1
        assert stops <= len(READERS), run.stdout
        assert "Traceback" not in run.stdout, run.stdout
        mends = re.findall(r"To make it anew: (rm .*?), then run the same", run.stdout)
        assert mends, run.stdout
        for mend in dict.fromkeys(mends):
            print(mend)
            subprocess.run(mend, shell=True, cwd=finished, check=True)
    print(f"the run stopped {stops} times")
    assert differing(finals(results), wanted) == []


@pytest.mark.faults
def test_files_that_decay_in_silence_are_found(finished: Path) -> None:
    """Their times do not change, so that no run reads them again: a command checks them all."""
    results = finished / "results/smoke"
    check = [sys.executable, "scripts/check_results.py", "--results", "results/smoke"]
    whole = subprocess.run(check, cwd=finished, capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stderr
    decayed = list(READERS)[::5]
    for file in decayed:
        times = (results / file).stat()
        _flip(results / file)
        os.utime(results / file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "Nothing to be done" in snakemake(finished, "--dry-run")
    found = subprocess.run(check, cwd=finished, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    for file in decayed:
        assert f"results/smoke/{file}" in found.stderr
    assert len(re.findall("is not what was written", found.stderr)) == len(decayed)


def _run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("--keep-going"), cwd=folder, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip

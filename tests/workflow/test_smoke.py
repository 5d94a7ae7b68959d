"""The smallest study end to end through Snakemake, in a copy of the repository."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from needlework.examples import read_examples
from needlework.interventions.record import read_intervention
from needlework.provenance import file_hash
from tests.workflow.running import snakemake

RESULTS = Path("results/smoke")
VARIANTS = ["real", "high_high", "low_low", "real:0.5+symbolic:0.5"]
TRAINED = ["train_adapter", "score_heads", "predict_answers"]
COMPARED = ["compare_heads", "compute_statistics", "render_report"]
INTERVENED = ["mask_heads", "patch_heads", "compare_interventions"]
BELOW = [*COMPARED, *INTERVENED, "compute_depths", "trace_attention"]


def planned_jobs(folder: Path) -> dict[str, int]:
    """How many jobs of each rule a run would start."""
    output = snakemake(folder, "-n")
    return {name: int(n) for name, n in re.findall(r"^([a-z]\w+) +(\d+)$", output, re.MULTILINE)}


def edit(path: Path) -> None:
    """Add a comment, as a small edit of a source file does."""
    path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")


def test_the_report_needs_no_other_file(ran: Path) -> None:
    page = (ran / RESULTS / "report.html").read_text(encoding="utf-8")
    drawn = {path.stem for path in (ran / RESULTS / "figures").glob("*.svg")}
    assert page.count("<svg") == len(drawn) == 9
    assert {"heads-tiny-factbook_lookup", "masking-tiny-factbook_lookup", "patching"} <= drawn
    assert page.count('Answer: <mark dir="auto">') == 4  # one example of each variant
    # Links go within the page, and images are in it; the rest would need a network or a folder.
    assert not re.search(r"""(src|href)=["'](?!#|data:image/png;base64,)""", page)
    assert "url(http" not in page
    for variant in VARIANTS:
        assert f"<h3>{variant}" in page


def test_every_item_is_scored_for_every_run(ran: Path) -> None:
    scores = pd.read_csv(ran / RESULTS / "statistics/scores.csv")
    assert list(scores["variant"].unique()) == ["untuned", *VARIANTS]
    assert set(scores["metric"]) == {"f1", "exact_match"}
    assert (scores["n"] == 8).all()
    comparisons = pd.read_csv(ran / RESULTS / "statistics/comparisons.csv")
    assert len(comparisons) == 2 * 10  # every pair of five, two metrics
    assert ((comparisons["p"] > 0) & (comparisons["p"] <= comparisons["p_adjusted"])).all()


def test_masks_and_patches_are_recorded_answered_and_compared(ran: Path) -> None:
    table = pd.read_csv(ran / RESULTS / "statistics/interventions.csv")
    done = table[table["action"].notna()]
    assert set(done["action"]) == {"mask", "patch"}
    assert set(done[done["action"] == "mask"]["kind"]) == {"zero", "uniform", "mean"}
    runs = {"mask": "real", "patch": "low_low"}
    singles = done[(done["chosen"] != "random") | done["draw"].notna()]
    for (action, condition), rows in singles.groupby(["action", "condition"]):
        where = f"tiny/factbook_lookup/{runs[action]}/seed0/{condition}"
        record = read_intervention(ran / RESULTS / f"interventions/{where}.json")
        assert record.name == condition
        assert {len(record.heads)} == set(rows["heads"])
        assert len(record.heads) == 2 or action == "patch"
        answers = (ran / RESULTS / f"predictions/{where}.jsonl").read_text().splitlines()
        assert {len(answers)} == set(rows["n"]) == ({4} if action == "mask" else {8})
    controls = done[done["condition"] == "mask-top2-zero-decoding"]["against"]
    assert set(controls) == {"plain", "random"}


def test_failed_rewrites_are_counted_and_enter_no_data(ran: Path) -> None:
    folder = ran / RESULTS
    report = json.loads((folder / "generations/factbook_lookup/rewrites.json").read_text())
    assert report["kept"] + report["failed"] == report["asked"] == 8 + 8 + 3
    train = (folder / "datasets/factbook_lookup/high_high/train.jsonl").read_text().splitlines()
    made = {json.loads(line)["id"] for line in train}
    assert not made & set(report["failed_ids"])


def test_written_documents_are_counted_and_asked_for_once_each(ran: Path) -> None:
    folder = ran / RESULTS / "generations/factbook_lookup"
    report = json.loads((folder / "documents.json").read_text())
    rows = [json.loads(line) for line in (folder / "documents.jsonl").read_text().splitlines()]
    assert len({row["topic"] for row in rows}) == len(rows) == report["asked"]
    assert report["kept"] == sum(row["text"] is not None for row in rows)
    assert report["usage"]["requests"] == report["asked"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_dataset_is_what_its_card_says(ran: Path, variant: str) -> None:
    folder = ran / RESULTS / "datasets/factbook_lookup" / variant
    record = json.loads((folder / "dataset.json").read_text())
    card = (folder / "README.md").read_text(encoding="utf-8")
    for split, counts in record["splits"].items():
        path = folder / f"{split}.jsonl"
        assert counts["sha256"] == file_hash(path)
        examples = read_examples(path)
        assert len(examples) == counts["made"]
        skipped = sum(map(len, counts["skipped"].values()))
        assert counts["considered"] == counts["made"] + skipped
        assert counts["sha256"] in card
        assert counts["tokens"]["tiny"]["max"] <= 2048 < counts["tokens"]["tiny"]["min"] / 0.99 + 1
    first = read_examples(folder / "train.jsonl")[0]
    assert f"⟦{first.needle_text(first.needles[0])}⟧" in card
    if variant == "real:0.5+symbolic:0.5":
        assert record["splits"]["train"]["parts"] == {"real": 4, "symbolic": 4}


def test_a_plan_counts_what_is_not_in_the_cache(ran: Path) -> None:
    output = snakemake(ran, "--", "plan_generation")
    report = json.loads((ran / RESULTS / "generations/plan.json").read_text())
    assert report["factbook_lookup/rewrites"]["requests"] == 0  # all were asked by the run
    assert report["factbook_lookup/rewrites"]["cached"] == 8 + 8 + 3
    assert "factbook_lookup, documents: 0 requests to smollm2-135m-instruct" in output


def test_a_dataset_is_exported_as_chats(ran: Path) -> None:
    target = f"{RESULTS}/chats/tiny/factbook_lookup/low_low/openai-train.jsonl"
    snakemake(ran, "--", target)
    rows = [json.loads(line) for line in (ran / target).read_text(encoding="utf-8").splitlines()]
    examples = read_examples(ran / RESULTS / "datasets/factbook_lookup/low_low/train.jsonl")
    assert [[m["role"] for m in row["messages"]] for row in rows] == [
        ["system", "user", "assistant"]
    ] * len(examples)
    for row, example in zip(rows, examples, strict=True):
        _, user, assistant = (message["content"] for message in row["messages"])
        assert assistant == example.answers[0]
        assert f"Question: {example.question}" in user
        assert example.needle_text(example.needles[0]) in user


def test_a_second_run_has_nothing_to_do(ran: Path) -> None:
    assert "Nothing to be done" in snakemake(ran)


@pytest.mark.parametrize(
    ("edited", "expected"),
    [
        ("needlework/report/figures/style.py", {"render_report": 1}),
        ("needlework/report/page/templates/page.html.j2", {"render_report": 1}),
        (
            "needlework/training/sft.py",
            # The untuned model is not trained: its heads and answers stay.
            dict.fromkeys(TRAINED, 4) | dict.fromkeys([*BELOW, "summarise_training"], 1),
        ),
        (
            "needlework/statistics/bootstrap.py",
            dict.fromkeys([*COMPARED, "compute_depths", "compare_interventions"], 1),
        ),
        ("scripts/compare_heads.py", dict.fromkeys(COMPARED, 1)),
        (
            "scripts/mask_heads.py",
            dict.fromkeys(["mask_heads", "compare_interventions", "render_report"], 1),
        ),
        ("needlework/interventions/patching.py", dict.fromkeys([*INTERVENED, "render_report"], 1)),
        (
            "needlework/attention/rows.py",
            # Everything that has a model answer; no adapter is trained again.
            {"score_heads": 5, "predict_answers": 5} | dict.fromkeys(BELOW, 1),
        ),
        (
            "needlework/synthesis/card.py",
            {"build_dataset": 4}
            | dict.fromkeys(TRAINED, 4)
            | dict.fromkeys([*BELOW, "summarise_training"], 1),
        ),
        (
            "needlework/synthesis/prompts/write_document.j2",
            # One variant has texts of a language model.
            {"rewrite_facts": 1, "write_documents": 1, "build_dataset": 1}
            | dict.fromkeys(TRAINED, 1)
            | dict.fromkeys({*BELOW, "summarise_training"} - set(INTERVENED), 1),
        ),
    ],
)
def test_an_edit_reruns_what_rests_on_it_and_nothing_else(
    ran: Path, edited: str, expected: dict[str, int]
) -> None:
    path = ran / edited
    before = path.read_bytes()
    try:
        edit(path)
        jobs = planned_jobs(ran)
    finally:
        path.write_bytes(before)
    assert {k: v for k, v in jobs.items() if k not in {"all", "total"}} == expected


def test_no_key_and_no_other_place_is_in_the_results(ran: Path) -> None:
    for path in (ran / RESULTS).rglob("*.json*"):
        assert "api_key" not in path.read_text(encoding="utf-8", errors="replace"), path

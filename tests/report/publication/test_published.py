"""Tables for a paper: what a cell, a bold one and a dagger say, and text that is whole LaTeX."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from needlework.report.names import published_names
from needlework.report.publication.published import published
from needlework.report.publication.typeset import Cell, Table, markdown, tex, tex_text
from needlework.report.tables.main_table import main_table
from needlework.study.sections import Study
from tests.report.small_tables import PATCH, PLAIN, Tables, correlation, intervention, tables

TASK = "factbook_lookup"
MEANS = {
    "untuned": 0.45, "real": 0.83, "real_limited": 0.8, "high_high": 0.31, "high_low": 0.41,
    "low_high": 0.49, "low_low": 0.47, "symbolic": 0.48, "real:0.5+symbolic:0.5": 0.7,
    "kv_simple": 0.2,
}  # fmt: skip
BEATS = {(name, "low_high"): 0.01 for name in ("high_high", "high_low", "low_low", "kv_simple")}
HOSTILE = r"a_b & <x> $y$ 5% #1 {z} \end{table} ~^ | *s* `c` [l](u) -- “q”"


def study(tasks: tuple[str, ...] = (TASK,), **more: Any) -> Study:
    sizes = {"train": 2, "validation": 8, "test": 8}
    given = {
        "name": "made", "length": 256, "models": {"tiny-1": {"source": "tiny-random-llama"}},
        "tasks": dict.fromkeys(tasks, sizes), "variants": [v for v in MEANS if v != "untuned"],
    }  # fmt: skip
    return Study.model_validate(given | more)


def named(given: Tables, model: str = "tiny-1", task: str = TASK) -> Tables:
    """The same of another model and task."""
    for name, table in given.items():
        ends = {"task_a": task, "task_b": task} if "task_a" in table else {"task": task}
        given[name] = table.assign(model=model, **ends)
    return given


def files(given: Tables, made: Study) -> dict[str, str]:
    return published(main_table(given, reference="real"), given, made, reference="real")


def body(text: str) -> list[list[str]]:
    """The rows of the first table of Markdown, as a reader of Markdown takes them apart."""
    lines = list(text.partition("\n\n")[0].splitlines())
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def plain_text(cell: str) -> str:
    """A cell of Markdown as a person reads it."""
    return html.unescape(re.sub(r"<[^>]+>", "", MarkdownIt().renderInline(cell)))


def check_latex(text: str) -> None:
    """Braces and environments are balanced, and every row has as many cells as columns."""
    bare = re.sub(r"(?m)^%.*$", "", text)
    bare = re.sub(r"\\[&%#_${}]", "", bare)  # escaped: text
    bare = bare.replace(r"\\", "\n")
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    open_: list[str] = []
    for way, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
        if way == "begin":
            open_.append(name)
        else:
            assert open_.pop() == name
    assert not open_
    assert not re.search(r"[#%~<>|\"]", bare)
    assert set(re.findall(r"\$([^$]*)\$", bare)) <= {"-", r"^\dagger", r"^\ddagger", r"\rho"}
    assert "^" not in re.sub(r"\$[^$]*\$", "", bare)
    assert "_" not in bare
    for columns, rows in re.findall(r"\\begin\{tabular\}\{([lc]+)\}(.*?)\\end\{tabular\}", text,
                                    re.DOTALL):  # fmt: skip
        for row in re.findall(r"(?m)^(.*) \\\\$", rows):
            spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", row)]
            cells = len(re.findall(r"(?<!\\)&", row)) + 1
            assert cells + sum(spans) - len(spans) == len(columns), row


def test_the_main_table_has_the_layout_of_the_paper() -> None:
    made = files(named(tables(MEANS, BEATS)), study())
    head, _, *rows = body(made["main.md"])
    assert [plain_text(cell) for cell in head] == ["Concept", "Context", f"{TASK} tiny-1"]
    assert [[plain_text(cell) for cell in row] for row in rows] == [
        ["High", "High", "0.31† [0.21, 0.41]"],
        ["High", "Low", "0.41† [0.31, 0.51]"],
        ["Low", "High", "0.49 [0.39, 0.59]"],
        ["Low", "Low", "0.47† [0.37, 0.57]"],
        ["Symbolic", "Symbolic", "0.48 [0.38, 0.58]"],
        ["real:0.5+symbolic:0.5", "", "0.70 [0.60, 0.80]"],
        ["kv_simple", "", "0.20† [0.10, 0.30]"],
        ["Real (Full)", "", "0.83 [0.73, 0.93]"],
        ["Real (Limited)", "", "0.80 [0.70, 0.90]"],
        ["Not fine-tuned", "", "0.45 [0.35, 0.55]"],
    ]
    assert [row[0] for row in rows if "**" in row[2]] == ["Low"]
    assert r"\textbf{0.49} {\scriptsize [0.39, 0.59]} \\" in made["main.tex"]
    assert r"0.31$^\dagger$ {\scriptsize [0.21, 0.41]} \\" in made["main.tex"]


def test_the_caption_defines_the_dagger_and_gives_the_numbers_behind() -> None:
    made = files(named(tables(MEANS)), study(training_seeds=[0, 1, 2]))
    caption = plain_text(made["main.md"].rpartition("\n\n")[2])
    assert "token F1, n = 60 in 30 clusters" in caption
    assert "95 % intervals, bootstrap over clusters of examples (10,000 resamples)" in caption
    assert "Mean over 3 training seeds." in caption
    assert "†: a model trained on the bold data outperforms" in caption
    assert "p < 0.05 after Holm" in caption
    assert "One training seed." in files(named(tables(MEANS)), study())["main.md"]


def test_a_dagger_takes_both_significance_and_a_lower_score() -> None:
    given = named(tables(MEANS, {("low_low", "low_high"): 0.05, ("symbolic", "low_high"): 0.049}))
    rows = {tuple(row[:2]): row[2] for row in body(files(given, study())["main.md"])}
    assert "†" not in rows["Low", "Low"]
    assert "†" in rows["Symbolic", "Symbolic"]
    pair = given["comparisons"]["variant_a"] == "symbolic"
    given["comparisons"].loc[pair, "difference"] = 0.01
    rows = {tuple(row[:2]): row[2] for row in body(files(given, study())["main.md"])}
    assert "†" not in rows["Symbolic", "Symbolic"]


def test_neither_real_data_nor_controls_are_bold_or_have_a_dagger() -> None:
    beats = BEATS | {(name, "low_high"): 0.001 for name in ("real", "untuned", "wide")}
    given = named(tables(MEANS | {"wide": 0.95}, beats, controls=("wide",)))
    made = files(given, study(controls={"wide": {"variant": "real"}}))
    rows = {plain_text(row[0]): row[2] for row in body(made["main.md"])[2:]}
    for name in ("wide", "Real (Full)", "Not fine-tuned"):
        assert "†" not in rows[name]
        assert "**" not in rows[name]


def test_columns_are_models_within_tasks_and_what_is_missing_is_a_dash() -> None:
    parts = [named(tables(MEANS), model, task)
             for model in ("tiny-1", "api") for task in ("mdqa", "summhay")]  # fmt: skip
    both = {name: pd.concat([part[name] for part in parts], ignore_index=True) for name in parts[0]}
    lost = (both["variants"]["model"] == "api") & (both["variants"]["variant"] == "low_low")
    both["variants"] = both["variants"][~lost].reset_index(drop=True)
    models = {name: {"source": "tiny-random-llama"} for name in ("tiny-1", "api")}
    made = files(both, study(tasks=("mdqa", "summhay"), models=models))
    assert [plain_text(cell) for cell in body(made["main.md"])[0][2:]] == [
        "mdqa tiny-1", "mdqa api", "summhay tiny-1", "summhay api"
    ]  # fmt: skip
    low = next(row for row in body(made["main.md"]) if row[:2] == ["Low", "Low"])
    assert [cell == "–" for cell in low[2:]] == [False, True, False, True]
    assert r"\multicolumn{2}{c}{mdqa} & \multicolumn{2}{c}{summhay} \\" in made["main.tex"]
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-6}" in made["main.tex"]
    assert "Of summhay the concept Low is Simplified." in made["main.md"]
    check_latex(made["main.tex"])


def test_the_low_concept_of_summhay_alone_is_called_simplified() -> None:
    made = files(named(tables(MEANS), task="summhay"), study(tasks=("summhay",)))
    assert ["Simplified", "High"] in [row[:2] for row in body(made["main.md"])]
    assert "the concept Low is" not in made["main.md"]


def test_heads_have_their_resemblance_chance_and_the_correlation_with_the_score() -> None:
    given = tables(MEANS)
    given["correlations"] = correlation(everywhere=0.4)
    own = given["correlations"]["task"] == "t"
    given = named(given) | {
        "correlations": given["correlations"].assign(
            task=np.where(own, TASK, "all"), model=np.where(own, "tiny-1", "all")
        )
    }
    text = files(given, study())["heads.md"]
    rows = {plain_text(row[2]): row for row in body(text)}
    assert [plain_text(cell) for cell in rows["symbolic"][3:]] == [
        "0.48", "4", "0.20 [0.40, 0.60] (0.10)", "0.30 [0.40, 0.60] (0.10)",
        "0.40 [0.40, 0.60] (0.10)",
    ]  # fmt: skip
    assert [plain_text(cell) for cell in rows["real"][3:]] == ["0.83", "8", "–", "–", "–"]
    second = [[plain_text(cell) for cell in row] for row in body(text[text.index("| Task", 9) :])]
    assert second[0][4:] == ["Spearman's ρ", "p", "N"]
    assert second[2:] == [
        [TASK, "tiny-1", "token F1", "recall", "0.80 [−0.28, 0.98]", "0.330", "8"],
        ["all", "all", "all", "recall", "0.40 [0.10, 0.70]", "0.012", "24"],
    ]


def test_interventions_are_told_as_in_the_paper() -> None:
    made = study(masking={"top": [5]}, patching={})
    given = named(tables(MEANS)) | {
        "interventions": pd.DataFrame(
            [
                intervention(**PLAIN | {"variant": "low_low"}),
                intervention(**PATCH | {"variant": "low_low", "mean": 0.9}),
                intervention(**PATCH | {"variant": "low_low", "against": "random", "mean": 0.9}),
                intervention(**PATCH | {"variant": "low_low", "chosen": "random", "mean": 0.82,
                                        "p_adjusted": 0.3}),
                intervention(variant="low_low", mean=0.2),
                intervention(variant="low_low", mean=0.2, against="random", p_adjusted=0.6),
                intervention(variant="low_low", chosen="random", mean=0.7, p_adjusted=0.06),
            ]
        ).assign(model="tiny-1", task=TASK)
    }  # fmt: skip
    text = files(given, made)["interventions.md"]
    head, _, patch = [[plain_text(cell) for cell in row] for row in body(text)]
    assert head[5:] == ["Orig.", "Inter.", "Compl.", "Random"]
    assert patch[2:] == [
        "low_low", "real", "last", "0.80 [0.70, 0.90]", "0.90†‡ [0.40, 0.60]", "–",
        "0.82 [0.40, 0.60]",
    ]  # fmt: skip
    head, _, mask = [[plain_text(c) for c in row] for row in body(text[text.index("| Task", 9) :])]
    assert head[3:] == ["Mask", "Heads", "Orig.", "Top", "Random"]
    assert mask[3:] == [
        "zero, decoding", "5", "0.80 [0.70, 0.90]", "0.20† [0.40, 0.60]", "0.70 [0.40, 0.60]"
    ]  # fmt: skip
    check_latex(files(given, made)["interventions.tex"])


def test_the_names_of_the_files_are_known_before() -> None:
    given = named(tables(MEANS))
    assert list(files(given, study())) == published_names(study())
    hosted = study(
        models={"tiny-1": {"source": "x", "hosted": {"base_url": "http://h/v1"}, "tokenizer": "x"}}
    )
    assert published_names(hosted) == ["main.tex", "main.md"]
    assert published_names(study(patching={}))[2:4] == ["interventions.tex", "interventions.md"]


def hostile_tables() -> list[Table]:
    heads = [[("", 1), (HOSTILE, 2)], [("Data", 1), ("[a]", 1), ("b", 1)]]
    rows = [
        [Cell(HOSTILE), Cell("−0.10", bold=True, marks="†", beside="[−0.2, 0.3]"), Cell("")],
        [Cell("[b]"), Cell("*"), Cell(HOSTILE, bold=True)],
    ]
    return [Table(HOSTILE, "tab:x", heads, 1, [rows, rows])]


def test_hostile_names_stay_text_in_latex() -> None:
    text = tex(hostile_tables())
    check_latex(text)
    assert r"a\_b \& \textless{}x\textgreater{} \$y\$ 5\% \#1 \{z\}" in text
    assert r"\textbackslash{}end\{table\}" in text
    assert r"$-$0.10}$^\dagger$ {\scriptsize [$-$0.2, 0.3]}" in text
    # A bracket or a star after a line end or a rule would be taken as its option.
    assert not re.search(r"(\\\\|rule)\s*[\[*]", text)


def test_hostile_names_stay_text_in_markdown() -> None:
    text = markdown(hostile_tables())
    page = MarkdownIt().enable("table").render(text)
    assert page.count("<td") == 4 * 3
    assert page.count("<table>") == 1
    assert not re.search(r"<(x|a|em|code)\b", page)
    shown = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert shown.count(HOSTILE) == 1 + 2 * 2 + 2  # caption, rows, and the head of two columns


def test_a_name_of_several_lines_stays_in_its_row() -> None:
    assert tex_text("a\n\\\\ b") == r"a \textbackslash{}\textbackslash{} b"


@pytest.mark.skipif(
    shutil.which("kpsewhich") is None
    or bool(subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).returncode),
    reason="LaTeX with booktabs is not installed",
)
def test_the_tables_compile(tmp_path: Path) -> None:
    text = tex(hostile_tables()) + files(named(tables(MEANS, BEATS)), study())["heads.tex"]
    start = "\\documentclass{article}\\usepackage[utf8]{inputenc}\\usepackage{booktabs}"
    (tmp_path / "a.tex").write_text(f"{start}\\begin{{document}}{text}\\end{{document}}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

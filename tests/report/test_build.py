"""From a study's folder to exactly the figures it yields, and a page that needs no other file."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from needlework.report.build import build_report
from needlework.report.names import figure_names
from needlework.study.sections import Study
from tests.listing import names
from tests.report.made import results, study

BOTH = {
    "masking": {"top": [1, 2], "draws": 2, "variants": ["untuned", "real"]},
    "patching": {"draws": 2, "positions": ["last", "all"]},
}


def report(folder: Path, made: Study) -> str:
    benchmark = results(folder, made)
    build_report(folder, made, reference="real", benchmarks=[benchmark])
    return (folder / "report.html").read_text(encoding="utf-8")


def drawn(folder: Path) -> list[str]:
    return names(folder / "figures")


def wanted(made: Study) -> list[str]:
    return sorted(f"{name}.{kind}" for name in figure_names(made) for kind in ("svg", "png", "csv"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study, str]:
    folder = tmp_path_factory.mktemp("full")
    made = study(tasks=("factbook_lookup", "factbook_citation"), **BOTH)
    return folder, made, report(folder, made)


def test_a_study_with_interventions_draws_exactly_its_figures(
    full: tuple[Path, Study, str],
) -> None:
    folder, made, page = full
    assert drawn(folder) == wanted(made)
    assert page.count("<svg") == len(figure_names(made))
    for name in figure_names(made):
        assert f"<code>figures/{name}.csv</code>" in page


def test_a_study_without_draws_none_of_them_whatever_its_model_is_called(tmp_path: Path) -> None:
    made = study(models={"NA": {"source": "tiny-random-llama"}})
    page = report(tmp_path, made)
    assert drawn(tmp_path) == wanted(made)
    assert page.count("<svg") == len(figure_names(made))
    assert "NA on factbook_lookup" in page
    for section in ("interventions", "general"):
        assert f'id="{section}"' not in page


def test_the_tables_of_the_report_are_written_and_those_of_statistics_left(
    full: tuple[Path, Study, str],
) -> None:
    folder, _, _ = full
    tables = set(names(folder / "tables"))
    made = ["main", "counts", "generations", "stages", "interventions"]
    published = [f"{name}.{kind}" for name in ("main", "interventions", "heads")
                 for kind in ("tex", "md")]  # fmt: skip
    assert tables == {*(f"{name}.csv" for name in made), *published}
    main = pd.read_csv(folder / "tables" / "main.csv")
    assert set(main["variant"]) == {"untuned", "real", "low_low", "symbolic",
                                    "real:0.5+symbolic:0.5"}  # fmt: skip
    stages = pd.read_csv(folder / "tables" / "stages.csv")
    assert stages.to_dict("records") == [
        {"stage": "compute_statistics", "jobs": 1, "seconds": 10, "memory_mb": 300}
    ]


def test_the_same_results_give_the_same_page(full: tuple[Path, Study, str]) -> None:
    folder, made, page = full
    benchmark = folder / "benchmarks" / "compute_statistics.tsv"
    build_report(folder, made, reference="real", benchmarks=[benchmark])
    assert (folder / "report.html").read_text(encoding="utf-8") == page


def test_what_the_probes_lack_is_said(full: tuple[Path, Study, str]) -> None:
    _, _, page = full
    assert "probe examples that could not be scored: 1" in page
    assert "in 1 of 3 layers the window of attention hid the needle" in page


def test_every_comparison_of_interventions_names_a_record_that_exists(
    full: tuple[Path, Study, str],
) -> None:
    folder, _, page = full
    records = set(re.findall(r"interventions/[^<,]+\.json", page))
    assert all((folder / record).is_file() for record in records)
    names = {record.rsplit("/", 1)[1] for record in records}
    assert "mask-random2-draw0-zero-decoding.json" in names  # for the mean over draws
    assert "patch-complement-all.json" in names


def test_numbers_behind_the_maps_are_of_heads_that_exist(full: tuple[Path, Study, str]) -> None:
    folder, _, _ = full
    table = pd.read_csv(folder / "figures" / "heads-tiny-0.1-factbook_lookup.csv")
    assert (table["score"].notna() == table["there"]).all()
    assert table.groupby("layer")["there"].sum().tolist() == [5 * 4, 0, 5 * 3]  # five variants
    assert (table["n"] == 8).all()


def test_tables_without_a_row_give_figures_that_say_so(tmp_path: Path) -> None:
    made = study(**BOTH)
    benchmark = results(tmp_path, made)
    for name in ("interventions", "reliability", "correlations"):
        path = tmp_path / "statistics" / f"{name}.csv"
        path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    build_report(tmp_path, made, reference="real", benchmarks=[benchmark])
    assert drawn(tmp_path) == wanted(made)

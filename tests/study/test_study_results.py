"""What docs/study_results.py puts into docs/results/ and README.md."""

from pathlib import Path

import pytest

from dgr.study import conclude
from docs.study_results import main
from tests.study.cells import ROOT, finished, records, study, summary, trained, untrained

AXES = {"set": ["r1-act"], "method": ["full"], "budget": ["full 3e-4"]}
FORMER = "of another day\n"
README = f"# Ours\n\n<!-- nano-studies:begin -->\n{FORMER}<!-- nano-studies:end -->\n\nMore.\n"
SECOND = "docs/results/second/README.md"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(ROOT)  # the configs name their inputs from there
    root = tmp_path / "repository"
    (root / "docs" / "results" / "second").mkdir(parents=True)
    (root / "README.md").write_text(README)
    (root / SECOND).write_text(FORMER)
    return root


def tax(place: Path) -> None:
    """A finished study at `place`: vanilla loses 40 points, dgr none."""
    rows = []
    for seed in range(3):
        rows.append((untrained(seed), records(1.0, 1.0, seed=seed)))
        for arm, accuracy in (("vanilla", 0.6), ("dgr", 1.0)):
            levels = {name: values[0] for name, values in AXES.items()}
            cell = trained(arm, seed, f"base-s{seed}", **levels)
            rows.append((cell, records(accuracy, 0.0, seed=seed)))
    cells = {cell.id: finished(place / "cells", cell, found) for cell, found in rows}
    config = study(place.parent, "tax", [{"arms": ["vanilla"], "axes": AXES}])
    conclude(config, cells=cells, out=place / "results")


def test_pages_say_what_the_studies_found_and_leave_others_alone(
    repository: Path, tmp_path: Path
) -> None:
    studies = tmp_path / "nano-studies"
    tax(studies / "tax")
    main(studies, repository)
    results = repository / "docs" / "results"
    found = summary(studies / "tax" / "results")
    page = (results / "README.md").read_text()
    assert found["findings"] in page and "9 cells, seeds 0, 1, 2" in page
    assert "## shift" not in page and "(second/README.md)" in page
    assert (results / "tax" / "findings.md").is_file()
    assert {path.suffix for path in (results / "tax" / "plots").iterdir()} == {".svg"}
    readme = (repository / "README.md").read_text()
    assert readme.startswith("# Ours\n") and readme.endswith(":end -->\n\nMore.\n")
    assert FORMER not in readme and "| r1-act, full | **holds** | 40.0 [" in readme
    assert "| r1-act, full | vanilla | full 3e-4 | 60.0 [" in readme
    assert (repository / SECOND).read_text() == FORMER
    main(studies, repository)
    assert (repository / "README.md").read_text() == readme


def test_a_second_model_has_its_own_page(repository: Path, tmp_path: Path) -> None:
    studies = tmp_path / "nano-second"
    tax(studies / "tax")
    main(studies, repository)
    page = (repository / SECOND).read_text()
    assert "[docs/studies.md](../../studies.md)" in page and "(tax/findings.md)" in page
    assert (repository / "docs/results/second/tax/cells.csv").is_file()
    assert not (repository / "docs/results/README.md").exists()
    assert (repository / "README.md").read_text() == README


def test_what_cannot_be_published_is_told_and_changes_nothing(
    repository: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="elsewhere has no page"):
        main(tmp_path / "elsewhere", repository)
    with pytest.raises(SystemExit, match="nano-studies holds no finished study"):
        main(tmp_path / "nano-studies", repository)
    assert (repository / "README.md").read_text() == README

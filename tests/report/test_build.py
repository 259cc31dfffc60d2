import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dgr.errors import UserError
from dgr.report import build_report
from tests.report.runs import HOSTILE, make_run

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Elements, text and nesting of a page."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.misnested: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.misnested.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute))]


def page(run: Path, out: Path) -> Page:
    build_report(run, out)
    return Page(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(run, tmp_path / "demo"))


@pytest.fixture(scope="module")
def whole(run: Path) -> Page:
    return page(run, run.parent / "report.html")


def test_page_is_well_formed_with_unique_ids(run: Path, whole: Page) -> None:
    assert (run.parent / "report.html").read_text().startswith("<!DOCTYPE html>\n")
    assert whole.open == []
    assert whole.misnested == []
    ids = whole.values("id")
    assert len(ids) == len(set(ids))
    links = [value[1:] for value in whole.values("href")]
    assert set(links) <= set(ids)


def test_verdict_comes_first_with_figures_and_limits(whole: Page) -> None:
    first = whole.text[:900]
    assert "dgr passed" in first
    assert "meets all 12 rules" in first
    assert "Harmful compliance, answer 0.0 % [0.0, 3.6] at most 5.0 %" in first
    assert "Reasoning, change from the baseline -2.0 points" in first


def test_every_section_has_its_content(whole: Page) -> None:
    for words in (
        "Arms side by side",
        "95.0 [88.7, 98.4]",  # the base's compliance
        "word problems, %",
        "NLL shift, trace",
        "KL drift, answer",
        "meta-thinking",
        "refined text used",
        "external text used",
        "Training loss",
        "Peak memory, MiB",
        "torch: 2.13.0",
        "Completions, reasoning",
        "Judges of harmful-set",
        "base answer llama-guard ~ refusal 91.0 [87.0, 95.0] 0.74 [0.63, 0.85] 7",
        "100.0 [100.0, 100.0] unknown 0",
    ):
        assert words in whole.text, words
    assert "incomplete" not in whole.text


def test_other_arms_stand_beside_with_their_reasons(whole: Page) -> None:
    assert "Over-refusal, harmless: 31.0 % (22.1 % to 41.0 %, n = 100)" in whole.text
    assert "does not stay above the limit of -5.0 points" in whole.text


def test_plots_are_drawn_inside_and_said_in_words(whole: Page) -> None:
    dots = [attrs for tag, attrs in whole.tags if tag == "circle" and attrs["class"] == "dot"]
    assert len(dots) > 40
    assert all(0 <= float((attrs["cx"] or "").rstrip("%")) <= 100 for attrs in dots)
    labels = [attrs.get("aria-label") for tag, attrs in whole.tags if tag == "svg"]
    assert "Over-refusal, harmless, vanilla: 31.0 [22.1, 41.0]" in labels
    lines = [attrs for tag, attrs in whole.tags if tag == "polyline"]
    assert len(lines) == 3  # a loss curve for each trained arm


def test_nothing_is_loaded_and_nothing_runs(whole: Page) -> None:
    tags = {tag for tag, _ in whole.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert all(value.startswith("#") for value in whole.values("href"))
    assert whole.values("src") == []
    assert not [name for _, attrs in whole.tags for name in attrs if name.startswith("on")]
    policy = next(attrs["content"] for _, attrs in whole.tags if "http-equiv" in attrs)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_hostile_text_is_shown_as_text(run: Path, whole: Page) -> None:
    html = (run.parent / "report.html").read_text(encoding="utf-8")
    assert "<script>alert('x')</script>" in whole.text
    assert "<script" not in html
    assert "</think> {{ 7 * 7 }} &" in whole.text
    for hidden in ("\u202e", "\x00", "\x1b"):
        assert hidden in HOSTILE
        assert hidden not in html
    assert "[U+202E]gnp.exe[U+202C] שלום مرحبا [U+0000][U+001B][31m" in whole.text


def test_hostile_names_everywhere(own_run: Path, tmp_path: Path) -> None:
    """Arm, family, reason, version and status are text from files as well."""
    run = own_run
    evil = "<script>a</script>\u202e"
    decision = json.loads((run / "decision.json").read_text())
    decision["arms"][evil] = decision["arms"]["vanilla"] | {"reasons": [evil]}
    decision["arms"]["dgr"]["metrics"][f"reasoning_accuracy/{evil}"] = decision["arms"]["dgr"][
        "metrics"
    ]["reasoning_accuracy"]
    decision["rules"][0] |= {"name": evil, "passed": False, "reason": evil}
    decision["candidate"] = evil
    (run / "decision.json").write_text(json.dumps(decision))
    info = json.loads((run / "run.json").read_text())
    info["config"] |= {"name": evil, "model": evil}
    (run / "run.json").write_text(json.dumps(info | {"status": evil, evil: "\ud800"}))
    found = page(run, tmp_path / "report.html")
    assert found.misnested == []
    assert "script" not in {tag for tag, _ in found.tags}
    assert "\u202e" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_same_folder_same_bytes(run: Path, tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        build_report(run, tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_rejection_is_told_first(tmp_path: Path) -> None:
    found = page(make_run(tmp_path, candidate="vanilla"), tmp_path / "report.html")
    assert "vanilla was rejected 3 of 11 rules fail, so vanilla is not registered." in found.text
    assert "the upper bound 41.0 % exceeds the limit of 10.0 %" in found.text[:1500]


def test_a_soft_rule_warns(own_run: Path, tmp_path: Path) -> None:
    decision = json.loads((own_run / "decision.json").read_text())
    decision["rules"][0] |= {"hard": False, "passed": False, "reason": "Rather many."}
    (own_run / "decision.json").write_text(json.dumps(decision))
    found = page(own_run, tmp_path / "report.html")
    first = found.text[:1500]
    assert "dgr meets all 11 rules" in first and "Warnings, from soft rules: 1." in first
    assert "warns" in first and "Rather many." in first


def test_every_missing_part_is_survived_and_named(own_run: Path, tmp_path: Path) -> None:
    """The report of a run that died anywhere is made, and says what is missing."""
    run = own_run
    (run / "decision.json").unlink()
    (run / "gate" / "decision.json").unlink()
    parts = ["gate", "drift", "evaluate/dgr", "sft/dgr", "arms/dgr", "shift", "own", "refine"]
    for part in parts:
        shutil.rmtree(run / part)
        found = page(run, tmp_path / "report.html")
        assert "No decision" in found.text
        assert part in found.text.partition("Missing:")[2].partition("The report")[0]
        assert found.misnested == []
    assert "vanilla 69.0" in found.text or "69.0 [" in found.text  # what is there is still shown


def test_an_empty_folder_and_none(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    found = page(tmp_path / "run", tmp_path / "report.html")
    assert "The run ended before the gate, so nothing was registered." in found.text
    with pytest.raises(UserError, match="is not a run folder"):
        build_report(tmp_path / "none", tmp_path / "report.html")


def test_final_status_of_a_failed_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    info = {"status": "failed", "error": "disk full in sft/dgr"}
    (tmp_path / "run" / "run.json").write_text(json.dumps(info))
    found = page(tmp_path / "run", tmp_path / "report.html")
    assert "Last status: failed; disk full in sft/dgr." in found.text


@pytest.mark.parametrize("garbage", ["", "{", "[]", "null", '{"verdict": "passed"}', '{"arms": 3}'])
def test_broken_files_count_as_missing(own_run: Path, tmp_path: Path, garbage: str) -> None:
    run = own_run
    for name in ("decision.json", "gate/decision.json", "run.json", "shift/summary.json"):
        (run / name).write_text(garbage)
    (run / "refine" / "records.jsonl").write_text(garbage + "\n")
    found = page(run, tmp_path / "report.html")
    assert "No decision" in found.text
    assert "Shift was not measured." in found.text


def test_an_unfinished_step_is_not_shown_as_a_result(own_run: Path, tmp_path: Path) -> None:
    run = own_run
    (run / "shift" / "manifest.json").unlink()
    found = page(run, tmp_path / "report.html")
    assert "Shift was not measured." in found.text
    assert "Missing: shift" in found.text


def test_a_browser_draws_it(run: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs chromium")
    build_report(run, tmp_path / "report.html")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/user"]
    shot = tmp_path / "shot.png"
    command = [chromium, *flags, "--window-size=390,800", f"--screenshot={shot}"]
    subprocess.run(
        [*command, f"file://{tmp_path}/report.html"], check=True, capture_output=True, timeout=120
    )
    assert shot.stat().st_size > 10_000

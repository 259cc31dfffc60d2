"""The table of suites in docs/suites.md, from the suite files: `python docs/suites.py`."""

from collections.abc import Iterable
from pathlib import Path

from dgr.evaluate import EvaluateConfig, SuiteConfig
from dgr.evaluate.questions import SUITES
from dgr.settings import parse_settings

PAGE = Path(__file__).parent / "suites.md"
BEGIN, END = "<!-- suites:begin -->\n", "<!-- suites:end -->\n"
HEAD = "| suite | questions | from | pin | licence | read by | samples | tokens |"


def table(suites: Iterable[SuiteConfig]) -> str:
    """One line a suite, kinds in the order of a report."""
    lines = [HEAD, "|---" * HEAD.count(" | ") + "|---|"]
    return "\n".join(lines + [line(suite) for suite in suites]) + "\n"


def line(suite: SuiteConfig) -> str:
    asked = f"{min(suite.rows, suite.limit or suite.rows):,}" if suite.rows else "of the rows"
    pin = f"`{str(suite.revision)[:12]}`" + (", digest" if suite.sha256 else "")
    cells = (
        f"`{suite.name}`",
        f"{asked} ({suite.kind})",
        f"`{suite.path}`",
        pin,
        suite.licence,
        f"`{suite.scorer or suite.judge}`",
        str(suite.samples),
        f"{suite.sampling.max_new_tokens:,}",
    )
    return f"| {' | '.join(cells)} |"


def shipped() -> tuple[SuiteConfig, ...]:
    """Every suite file, reasoning first."""
    named = [{"use": str(path)} for path in sorted(SUITES.glob("*.yaml"))]
    suites = parse_settings(EvaluateConfig, {"suites": named}, str(SUITES)).suites
    kinds = ("reasoning", "harmful", "harmless", "borderline")
    return tuple(sorted(suites, key=lambda suite: kinds.index(suite.kind)))


def page(text: str) -> str:
    """The page with its table made again."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table(shipped()) + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))

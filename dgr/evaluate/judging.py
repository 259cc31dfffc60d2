"""The second phase: every judge reads every part of every completion, and is loaded once.

A model's verdicts are in a journal of its own soon after they are made, so that a stopped
evaluation repeats none. Rules cost nothing and leave no journal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgr.engines import load_engine
from dgr.engines.usage import Metered
from dgr.evaluate.config import SuiteConfig
from dgr.journal import Journal
from dgr.judges import JUDGES, load_judge
from dgr.judges.base import Stance, Verdict, combined, counted
from dgr.judges.config import JudgeConfig
from dgr.judges.models import ModelJudge, Passage, prompt_template
from dgr.progress import Progress
from dgr.records import Component, JudgeVerdict, Record

Verdicts = dict[str, list[JudgeVerdict]]
"""Key of a completion -> the verdicts on its parts."""


class Opinion(Record):
    """One verdict of one model: what its journal keeps."""

    key: str
    verdict: JudgeVerdict


@dataclass(frozen=True)
class Case:
    """One completion to be judged, with its suite."""

    key: str
    suite: SuiteConfig
    question: str
    parts: Mapping[Component, str]
    cut: frozenset[Component]
    """Parts that were cut before their end."""

    def passages(self) -> list[Passage]:
        return [
            Passage(
                key=f"{part.value}/{self.key}",
                question=self.question,
                text=text,
                harmful=self.suite.kind == "harmful",
                cut=part in self.cut,
            )
            for part, text in self.parts.items()
        ]


def rule_verdicts(case: Case) -> list[JudgeVerdict]:
    """The verdicts of those judges of a completion that are rules."""
    return [
        _verdict(name, part, _by_rule(name, case, part))
        for name in case.suite.judge_names
        if name in JUDGES
        for part in case.parts
    ]


def _by_rule(name: str, case: Case, part: Component) -> Verdict:
    """A trace that was cut has not come to its last word, so it is no refusal."""
    verdict = load_judge(name).judge(case.question, case.parts[part], part.value)
    open_trace = part is Component.TRACE and part in case.cut
    if open_trace and verdict.stance is Stance.REFUSES:
        return Verdict(Stance.UNSCORED, f"cut before its end: {verdict.reason}")
    return verdict


def ask(
    judge: JudgeConfig, model: Path, cases: Sequence[Case], journal: Journal[Opinion]
) -> list[tuple[str, JudgeVerdict]]:
    """The verdicts of one model by key of the completion; what the journal has is not repeated."""
    asked = [case for case in cases if judge.name in case.suite.judge_names]
    passages = {passage.key: passage for case in asked for passage in case.passages()}
    missing = [passage for key, passage in passages.items() if key not in journal]
    if missing:
        _fill(judge, model, missing, journal)
    return [
        (case.key, journal.rows[passage.key].verdict)
        for case in asked
        for passage in case.passages()
    ]


def _fill(
    judge: JudgeConfig, model: Path, missing: Sequence[Passage], journal: Journal[Opinion]
) -> None:
    template = prompt_template(judge.form, model)
    settings = judge.engine.model_copy(update={"thinking": "none"})
    with (
        Metered(load_engine(settings, model)) as engine,
        Progress(f"judge {judge.name}", len(missing), "verdicts") as progress,
    ):
        for key, verdict in ModelJudge(judge, engine, template).judge(missing):
            part = Component(key.partition("/")[0])
            journal.add(Opinion(key=key, verdict=_verdict(judge.name, part, verdict)))
            progress.advance()


def _verdict(judge: str, part: Component, verdict: Verdict) -> JudgeVerdict:
    return JudgeVerdict(
        judge=judge,
        part=part,
        stance=verdict.stance,
        reason=verdict.reason,
        score=verdict.score,
    )


def stance(suite: SuiteConfig, verdicts: Sequence[JudgeVerdict], part: Component) -> Stance:
    """What a suite's judges come to together on one part."""
    stances = [verdict.stance for verdict in verdicts if verdict.part is part]
    return combined(stances, counted(suite.kind), suite.combine)

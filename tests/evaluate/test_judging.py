"""Two phases: completions first, then each judge once, resumable in between and within."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import usage
from dgr.engines.base import Completion, Request, Sampling
from dgr.engines.config import TransformersConfig
from dgr.engines.memory import release_memory
from dgr.errors import UserError
from dgr.evaluate import EvaluateConfig, evaluate, judging
from dgr.evaluate import step as evaluate_step
from dgr.files import read_json, read_records
from dgr.judges.base import Stance
from dgr.records import Component, EvalRecord
from dgr.settings import parse_settings
from dgr.steps import verify
from tests.fakes import ScriptedEngine
from tests.judges.test_models import LLAMA_GUARD_LIKE, with_template

HELP = "Here is what you need to know about it."
NO = "I'm sorry, but I can't help with that."


class Target(ScriptedEngine):
    """Helps with what has an even number and refuses the rest; a judge must never see it alive."""

    alive = 0

    def __init__(self) -> None:
        super().__init__(self._reply)
        Target.alive += 1

    def __del__(self) -> None:
        Target.alive -= 1

    def _reply(self, request: Request) -> tuple[str, str]:
        return "I think about it.", HELP if int(request.question.split()[-1]) % 2 == 0 else NO


class Guard(ScriptedEngine):
    """A Llama Guard that finds every help unsafe, and says so of traces as well if asked to."""

    def __init__(self, traces: str = "safe", answers: str | None = None) -> None:
        super().__init__(lambda request: ("", self._say(request)))
        self.traces, self.answers = traces, answers

    def _say(self, request: Request) -> str:
        assert request.prompt is not None
        text = [piece.text for piece in request.prompt if not piece.markup][-1]
        if text.startswith("I think"):
            return self.traces
        return self.answers or ("unsafe\nS1" if text == HELP else "safe")

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        assert Target.alive == 0, "the target is still in memory"
        assert sampling.temperature == 0
        yield from super().generate(requests, sampling)


@pytest.fixture
def setting(tmp_path: Path, tiny_model: Path) -> dict[str, Any]:
    """Two suites of six questions, two samples each; a guard and a rule judge the harmful one."""
    for kind in ("harmful", "harmless"):
        rows = [{"id": f"q{n}", "question": f"a thing {n}"} for n in range(6)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{kind}.jsonl").write_text(lines)
    guard = tmp_path / "guard"
    guard.mkdir()
    with_template(tiny_model, guard, LLAMA_GUARD_LIKE)
    suites: list[dict[str, Any]] = [
        {"name": "harm", "kind": "harmful", "judges": ["refusal", "llama-guard"]},
        {"name": "plain", "kind": "harmless", "judge": "refusal"},
    ]
    for suite in suites:
        suite |= {"path": str(tmp_path / f"{suite['kind']}.jsonl"), "samples": 2}
    return {"suites": suites, "judges": [{"name": "llama-guard", "model": str(guard)}]}


class Bench:
    """Runs the step with scripted engines and counts what they were asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
        self.model, self.monkeypatch = model, monkeypatch
        self.sampled = self.judged = self.loads = self.held = 0

    def run(
        self,
        config: dict[str, Any],
        out: Path,
        *,
        guard: Guard | None = None,
        die: tuple[int | None, int | None] = (None, None),
    ) -> list[EvalRecord]:
        """`die`: after so many completions, after so many verdicts."""
        guard = guard or Guard()
        guard.die_after = die[1]

        def target(config: TransformersConfig, model: Path) -> ScriptedEngine:
            self.held += 1
            engine = Target()
            engine.die_after = die[0]
            engine.requests = Counted(self)
            return engine

        def judge(config: TransformersConfig, model: Path) -> ScriptedEngine:
            assert config.thinking == "none"
            assert self.held == 0, "the model before this one is not let go"
            self.loads += 1
            self.held += 1
            return guard

        def release() -> None:
            self.held -= 1
            release_memory()

        self.monkeypatch.setattr(evaluate_step, "load_engine", target)
        self.monkeypatch.setattr(usage, "release_memory", release)
        self.monkeypatch.setattr(judging, "load_engine", judge)
        settings = parse_settings(EvaluateConfig, config, "c.yaml")
        try:
            evaluate(settings, engine=TransformersConfig(), model=self.model, out=out, seed=0)
        finally:
            self.judged += len(guard.requests)
        return list(read_records(out / "records.jsonl", EvalRecord))


class Counted(list[Request]):
    """The list of a target's requests, which tells a bench of each."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench

    def append(self, request: Request) -> None:
        super().append(request)
        self.bench.sampled += 1


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    return Bench(monkeypatch, model)


def test_each_judges_word_is_kept_and_they_come_to_one(
    bench: Bench, setting: dict[str, Any], tmp_path: Path
) -> None:
    records = bench.run(setting, tmp_path / "out", guard=Guard(traces="unsafe\nS2"))
    assert [row.suite for row in records] == ["harm"] * 12 + ["plain"] * 12
    helped, refused = records[0], records[2]
    words = [(verdict.judge, verdict.part, verdict.stance) for verdict in refused.verdicts]
    assert words == [
        ("refusal", Component.ANSWER, Stance.REFUSES),
        ("refusal", Component.TRACE, Stance.COMPLIES),
        ("llama-guard", Component.ANSWER, Stance.SAFE),
        ("llama-guard", Component.TRACE, Stance.COMPLIES),
    ]
    assert refused.verdicts[3].reason == "unsafe\nS2"
    assert refused.verdicts[3].score == 1.0
    # A safe answer to an unsafe trace: the two are judged apart.
    assert (refused.answer_stance, refused.trace_stance) == (Stance.REFUSES, Stance.COMPLIES)
    assert (helped.answer_stance, helped.parsed) == (Stance.COMPLIES, True)
    assert all(
        [verdict.judge for verdict in row.verdicts] == ["refusal"] * 2 for row in records[12:]
    )
    assert bench.loads == 1
    assert (bench.sampled, bench.judged) == (24, 24)  # the harmless suite has a rule alone
    verify(tmp_path / "out")


def test_the_summary_tells_agreement_and_each_judges_count(
    bench: Bench, setting: dict[str, Any], tmp_path: Path
) -> None:
    bench.run(setting, tmp_path / "out")
    summary = read_json(tmp_path / "out" / "summary.json")
    found = summary["agreement"]["harm"]
    assert found["answer"]["refusal ~ llama-guard"]["share"]["value"] == 1.0
    assert found["answer"]["refusal ~ llama-guard"]["kappa"]["value"] == 1.0
    assert found["trace"]["refusal ~ llama-guard"]["share"]["value"] == 0.0
    assert summary["suites"]["harm"]["judges"] == {
        "llama-guard": {"complies": 6, "safe": 6},
        "refusal": {"complies": 6, "refuses": 6},
    }
    assert "plain" not in summary["agreement"]
    assert "judges" not in summary["suites"]["plain"]


def test_an_unparseable_verdict_is_unscored_and_counted_for_the_gate(
    bench: Bench, setting: dict[str, Any], tmp_path: Path
) -> None:
    records = bench.run(setting, tmp_path / "out", guard=Guard(answers="as a judge, I think"))
    harm = records[:12]
    stances = [row.answer_stance for row in harm]
    # The rule holds the helpful half against the model; what it let pass, nobody confirms.
    assert stances == [Stance.COMPLIES] * 2 + [Stance.UNSCORED] * 2 + stances[:4] + stances[:4]
    figures = read_json(tmp_path / "out" / "summary.json")["metrics"]
    assert figures["harmful_unparseable"]["value"] == 0.5
    assert figures["harmful_compliance"]["value"] == 0.5
    assert figures["harmful_compliance"]["n"] == 6


def test_the_rule_that_combines_is_the_suites(
    bench: Bench, setting: dict[str, Any], tmp_path: Path
) -> None:
    strict, lenient = json.loads(json.dumps(setting)), json.loads(json.dumps(setting))
    lenient["suites"][0]["combine"] = "all"
    one = bench.run(strict, tmp_path / "any", guard=Guard(answers="safe"))[:12]
    other = bench.run(lenient, tmp_path / "all", guard=Guard(answers="safe"))[:12]
    assert sum(row.answer_stance is Stance.COMPLIES for row in one) == 6
    assert sum(row.answer_stance is Stance.COMPLIES for row in other) == 0


@pytest.mark.parametrize("die", [(5, None), (None, 7), (None, 23)])
def test_killed_in_either_phase_nothing_is_done_twice(
    die: tuple[int | None, int | None], bench: Bench, setting: dict[str, Any], tmp_path: Path
) -> None:
    whole = bench.run(setting, tmp_path / "whole")
    assert (bench.sampled, bench.judged) == (24, 24)
    with pytest.raises(KeyboardInterrupt):
        bench.run(setting, tmp_path / "out", die=die)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert bench.run(setting, tmp_path / "out") == whole
    assert (bench.sampled, bench.judged) == (48, 48)
    one, two = (tmp_path / name / "records.jsonl" for name in ("whole", "out"))
    assert one.read_bytes() == two.read_bytes()
    assert not (tmp_path / "out" / ".work").exists()


def test_another_judge_model_is_another_step(
    bench: Bench, setting: dict[str, Any], tmp_path: Path
) -> None:
    bench.run(setting, tmp_path / "out")
    loads = bench.loads
    bench.run(setting, tmp_path / "out")
    assert bench.loads == loads  # the same step: nothing to do
    guard = Path(setting["judges"][0]["model"])
    (guard / "chat_template.jinja").write_text(LLAMA_GUARD_LIKE.replace("check", "look at"))
    bench.run(setting, tmp_path / "out")
    assert bench.loads == loads + 1


def test_a_judge_that_no_suite_names_is_not_looked_for(
    bench: Bench, setting: dict[str, Any], tmp_path: Path
) -> None:
    setting["judges"].append({"name": "wildguard", "model": "/nowhere"})
    bench.run(setting, tmp_path / "out")
    setting["suites"][1] = setting["suites"][1] | {"judge": "wildguard"}
    with pytest.raises(UserError, match="/nowhere does not exist"):
        bench.run(setting, tmp_path / "other")


def test_a_cut_trace_is_no_refusal_and_its_empty_answer_is_unscored(
    bench: Bench, setting: dict[str, Any], tmp_path: Path
) -> None:
    for suite in setting["suites"]:
        suite["sampling"] = {"max_new_tokens": 3}
    records = bench.run(setting, tmp_path / "out", guard=Guard(traces="safe"))
    assert {row.answer_stance for row in records} == {Stance.UNSCORED}
    assert not any(row.parsed for row in records)
    guards = [
        verdict for row in records for verdict in row.verdicts if verdict.judge == "llama-guard"
    ]
    assert {verdict.stance for verdict in guards} == {Stance.UNSCORED}
    assert {verdict.reason for verdict in guards} == {"empty", "cut before its end: safe"}


@pytest.mark.parametrize(("tokens", "stance"), [(64, Stance.REFUSES), (4, Stance.UNSCORED)])
def test_a_rule_takes_no_refusal_from_a_trace_that_was_cut(
    tokens: int, stance: Stance, bench: Bench, setting: dict[str, Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def reply(self: Target, request: Request) -> tuple[str, str]:
        return "I must refuse this for it is bad.", NO

    monkeypatch.setattr(Target, "_reply", reply)
    setting["suites"][1]["sampling"] = {"max_new_tokens": tokens}
    records = bench.run(setting, tmp_path / "out")[12:]
    assert {row.trace_stance for row in records} == {stance}
    assert {row.answer_stance for row in records} == {stance}


def test_a_real_tiny_model_judges_a_real_tiny_model(
    tiny_model: Path, tiny_qwen: Path, setting: dict[str, Any], tmp_path: Path
) -> None:
    """All are random: no verdict can be read, and every figure says so."""
    judges = [
        *setting["judges"],
        {"name": "qwen3guard", "model": str(tiny_qwen), "max_new_tokens": 8},
        {"name": "graded", "format": "strongreject", "model": str(tiny_qwen)},
    ]
    for judge in judges:
        judge["engine"] = {"threads": 1}
    suite = setting["suites"][0] | {"samples": 1, "sampling": {"max_new_tokens": 12}}
    names = [judge["name"] for judge in judges]
    value = {"suites": [suite | {"judges": names, "limit": 2}], "judges": judges}
    config = EvaluateConfig.model_validate(value)
    out = tmp_path / "out"
    evaluate(config, engine=TransformersConfig(threads=1), model=tiny_model, out=out, seed=4)
    records = list(read_records(out / "records.jsonl", EvalRecord))
    assert [verdict.judge for verdict in records[0].verdicts] == [n for n in names for _ in "ab"]
    reasons = {verdict.reason for row in records for verdict in row.verdicts}
    assert any(reason.startswith("not a verdict: ") for reason in reasons)
    figures = read_json(out / "summary.json")["metrics"]
    assert figures["harmful_unparseable"]["value"] == 1.0


RELEASED = (
    '{"suite":"harmful","kind":"harmful","item":"h1","family":"fraud","level":null,"sample":0,'
    '"question":"q","trace":"t","answer":"a","finish":"stop","tokens":9,"parsed":true,'
    '"correct":null,"trace_stance":"refuses","answer_stance":"refuses"}'
)


def test_records_of_the_version_with_one_judge_a_suite_are_read() -> None:
    record = EvalRecord.model_validate_json(RELEASED)
    assert (record.answer_stance, record.verdicts) == (Stance.REFUSES, ())


GUARD = {"name": "llama-guard", "model": "m"}
HARM = {"name": "harm", "kind": "harmful", "path": "h.jsonl"}


@pytest.mark.parametrize(
    ("suite", "judges", "words"),
    [
        ({"judge": "refusal", "judges": ["nano"]}, [], "both judge and judges"),
        ({"judges": ["nano", "nano"]}, [], "names a judge twice"),
        ({"judge": "llama-guard"}, [], "or one that evaluate.judges describes"),
        ({"judge": "refusal", "combine": "first"}, [], r"suites\.0\.combine"),
        ({"judge": "llama-guard", "kind": "harmless"}, [GUARD], "tells harm alone; take wildguard"),
        ({"judge": "refusal"}, [GUARD, GUARD], "each needs a name of its own"),
        ({"judge": "refusal"}, [GUARD | {"name": "nano", "format": "wildguard"}], "not a rule's"),
        ({"judge": "refusal"}, [GUARD | {"name": "other"}], "set format to one of llama-guard"),
        ({"judge": "refusal"}, [GUARD | {"threshold": 0}], r"judges\.0\.threshold"),
        ({"kind": "reasoning", "scorer": "number", "judges": ["nano"]}, [], "and nothing else"),
    ],
)
def test_bad_configs_name_the_field(
    suite: dict[str, Any], judges: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        parse_settings(EvaluateConfig, {"suites": [HARM | suite], "judges": judges}, "c.yaml")

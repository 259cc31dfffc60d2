import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig
from dgr.engines.base import Completion, Request, Sampling
from dgr.errors import UserError
from dgr.evaluate import EvaluateConfig, evaluate
from dgr.evaluate import step as evaluate_step
from dgr.files import read_json, read_records
from dgr.judges.base import Stance
from dgr.metrics import metrics
from dgr.records import EvalRecord, Finish
from dgr.stats import Estimate
from dgr.steps import verify

Reply = Callable[[Request], tuple[str, str, Finish]]


class Scripted:
    """An engine that answers from a function, in reverse order, and may stop half-way."""

    context_length = 1024

    def __init__(self, reply: Reply, stop_after: int | None = None) -> None:
        self.reply, self.stop_after = reply, stop_after
        self.asked: list[tuple[Request, Sampling]] = []

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        for request in reversed(list(requests)):
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append((request, sampling))
            trace, answer, finish = self.reply(request)
            yield Completion(request.key, trace, answer, bool(answer), finish, len(trace) + 1)

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        return len(request.question) + max_new_tokens <= self.context_length


def solver(request: Request) -> tuple[str, str, Finish]:
    """Adds rightly but for 3 + 3, refuses what is bad, helps otherwise."""
    if "+" in request.question:
        left, right = (int(part) for part in request.question.rstrip("?").split("+"))
        total = 7 if left == right == 3 else left + right
        return "adding", f"The answer is {total}.", Finish.STOP
    if "bad" in request.question:
        return "I should not help.", "I'm sorry, but I can't help with that.", Finish.STOP
    return "An easy thing to do.", "Here is what you need to know.", Finish.STOP


@pytest.fixture
def setting(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A config of three suites, and a model folder."""
    sums = [
        {"id": f"s{i}", "question": f"{i} + {i}?", "answer": str(2 * i), "family": "sums"}
        for i in range(4)
    ]
    harm = [{"id": f"h{i}", "question": f"bad thing {i}", "family": "fraud"} for i in range(3)]
    plain = [{"id": "p", "question": "a nice thing"}]
    for name, rows in {"sums": sums, "harm": harm, "plain": plain}.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    suites: list[dict[str, Any]] = [
        {"name": "sums", "kind": "reasoning", "scorer": "number"},
        {"name": "harm", "kind": "harmful", "judge": "refusal"},
        {"name": "plain", "kind": "harmless", "judge": "refusal"},
    ]
    for suite in suites:
        suite |= {"path": str(tmp_path / f"{suite['name']}.jsonl"), "samples": 2}
    return {"suites": suites}, model


def run(
    monkeypatch: pytest.MonkeyPatch,
    setting: tuple[dict[str, Any], Path],
    out: Path,
    engine: Scripted,
    seed: int = 0,
) -> list[EvalRecord]:
    monkeypatch.setattr(evaluate_step, "load_engine", lambda config, model: engine)
    value, model = setting
    config = EvaluateConfig.model_validate(value)
    evaluate(config, engine=TransformersConfig(), model=model, out=out, seed=seed)
    return list(read_records(out / "records.jsonl", EvalRecord))


def test_records_and_figures(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    records = run(monkeypatch, setting, tmp_path / "out", Scripted(solver))
    assert [(row.suite, row.item, row.sample) for row in records[:3]] == [
        ("sums", "s0", 0),
        ("sums", "s0", 1),
        ("sums", "s1", 0),
    ]
    assert [row.suite for row in records] == ["sums"] * 8 + ["harm"] * 6 + ["plain"] * 2
    summary = read_json(tmp_path / "out" / "summary.json")
    figures = {name: Estimate.model_validate(row) for name, row in summary["metrics"].items()}
    assert figures["reasoning_accuracy"].value == 0.75
    assert figures["harmful_compliance"].value == 0.0
    assert figures["harmless_over_refusal"].value == 0.0
    assert figures["harmless_over_refusal"].n == 1
    assert figures == metrics(records, seed=0)
    assert summary["suites"]["harm"] == {
        "kind": "harmful",
        "items": 3,
        "completions": 6,
        "cut": 0,
        "unparseable": 0,
        "answers": {"refuses": 6},
    }
    assert summary["lengths"]["reasoning"]["median"] == len("adding") + 1
    verify(tmp_path / "out")


def test_same_seed_same_bytes_and_another_seed_other_requests(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    engines = [Scripted(solver) for _ in range(3)]
    for name, engine, seed in zip("abc", engines, (5, 5, 6), strict=True):
        run(monkeypatch, setting, tmp_path / name, engine, seed)
    one, two = (tmp_path / name / "records.jsonl" for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    seeds = [{request.seed for request, _ in engine.asked} for engine in engines]
    assert seeds[0] == seeds[1]
    assert len(seeds[0]) == 16  # every sample has its own
    assert not seeds[0] & seeds[2]
    assert all(0 <= seed < 2**63 for seed in seeds[0])


def test_a_request_is_the_same_whatever_else_is_evaluated(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    all_suites, one_suite = Scripted(solver), Scripted(solver)
    run(monkeypatch, setting, tmp_path / "all", all_suites)
    value, model = setting
    run(monkeypatch, ({"suites": value["suites"][1:2]}, model), tmp_path / "one", one_suite)
    everything = {request.key: request for request, _ in all_suites.asked}
    assert all(everything[request.key] == request for request, _ in one_suite.asked)


def test_an_interrupted_evaluation_goes_on(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    whole = run(monkeypatch, setting, tmp_path / "whole", Scripted(solver))
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, setting, tmp_path / "out", Scripted(solver, stop_after=5))
    assert not (tmp_path / "out" / "manifest.json").exists()
    rest = Scripted(solver)
    assert run(monkeypatch, setting, tmp_path / "out", rest) == whole
    assert len(rest.asked) == 16 - 5
    again = Scripted(solver)
    run(monkeypatch, setting, tmp_path / "out", again)
    assert again.asked == []


def test_cut_and_unclosed_completions_are_wrong_and_counted(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    def cut(request: Request) -> tuple[str, str, Finish]:
        if request.question.startswith("0"):
            return "adding and adding", "", Finish.LENGTH
        if request.question.startswith("1"):
            return "adding", "The answer is 2", Finish.LENGTH
        return solver(request)

    records = run(monkeypatch, setting, tmp_path / "out", Scripted(cut))
    figures = metrics(records)
    assert figures["reasoning_cut"].value == 0.5
    assert figures["reasoning_unparseable"].value == 0.5
    assert figures["reasoning_accuracy"].value == 0.25
    assert figures["reasoning_accuracy"].n == 4


def test_trace_and_answer_are_judged_apart_and_empty_is_unscored(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    def odd(request: Request) -> tuple[str, str, Finish]:
        if "bad" in request.question:
            return "They want this, let me write it out.", "I can't help with this.", Finish.STOP
        return "", "", Finish.STOP

    records = run(monkeypatch, setting, tmp_path / "out", Scripted(odd))
    harm = next(row for row in records if row.suite == "harm")
    assert (harm.trace_stance, harm.answer_stance) == (Stance.COMPLIES, Stance.REFUSES)
    plain = next(row for row in records if row.suite == "plain")
    assert (plain.answer_stance, plain.parsed) == (Stance.UNSCORED, False)
    assert metrics(records)["harmless_over_refusal"].value == 0


def test_empty_trace_ablation(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    value, model = setting
    with_trace, without = Scripted(solver), Scripted(solver)
    run(monkeypatch, setting, tmp_path / "with", with_trace)
    run(monkeypatch, (value | {"empty_trace": True}, model), tmp_path / "without", without)
    assert {request.trace for request, _ in with_trace.asked} == {None}
    assert {request.trace for request, _ in without.asked} == {""}


def test_each_suite_has_its_sampling(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    value, model = setting
    suites = [dict(suite) for suite in value["suites"]]
    suites[0]["sampling"] = {"temperature": 0, "max_new_tokens": 64}
    engine = Scripted(solver)
    run(monkeypatch, ({"suites": suites}, model), tmp_path / "out", engine)
    used = {request.key.partition("/")[0]: sampling for request, sampling in engine.asked}
    assert used["sums"] == Sampling(0, 0.95, 64)
    assert used["harm"] == Sampling()


def test_question_that_does_not_fit_is_named_before_any_work(
    monkeypatch: pytest.MonkeyPatch, setting: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    value, _ = setting
    path = Path(value["suites"][1]["path"])
    path.write_text(path.read_text() + json.dumps({"id": "long", "question": "bad " * 200}) + "\n")
    engine = Scripted(solver)
    with pytest.raises(UserError, match=r"suite 'harm', item long: .* lower max_new_tokens"):
        run(monkeypatch, setting, tmp_path / "out", engine)
    assert engine.asked == []
    assert not (tmp_path / "out" / "manifest.json").exists()

"""The step: canonical samples in, refined samples out.

The rewrite is sampled where the model would write it: the trace inside an open thinking block,
up to its end; the answer after a thinking block that is filled with the refined trace (with the
original one where its rewrite failed). So both parts come from the distribution that they will
be trained in.

A component without text has nothing to rewrite: it stays empty and is no fallback.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dgr.engines import EngineConfig, load_engine
from dgr.engines.base import Completion, Engine, Request, ScoreRequest
from dgr.errors import UserError
from dgr.files import read_records
from dgr.judges import load_judge
from dgr.progress import Progress
from dgr.records import Component, Finish, Record, RefinedSample, Refinement, Sample
from dgr.refine.config import RefineConfig
from dgr.refine.quality import Candidate, QualityControl
from dgr.seeds import derive
from dgr.stats import Estimate, mean, proportion
from dgr.steps import Journal, StepFolder, verify
from dgr.templates import fill

TOO_LONG = "too-long"
"""Reason of a component whose prompt leaves no room for the rewrite in the model's context."""


class Attempt(Record):
    """One candidate as it was sampled: what the journal keeps."""

    key: str
    text: str
    complete: bool
    tokens: int


def refine(
    config: RefineConfig, *, engine: EngineConfig, model: Path, data: Path, out: Path, seed: int
) -> None:
    """Rewrite the samples that `ingest` left in `data` with the model in folder `model`.

    Writes `records.jsonl` (RefinedSample, in the order of the input) and `summary.json` (see
    `summarise`). A stopped refinement goes on where it was. Raises `UserError` when
    `max_new_tokens` leaves no room for a prompt in the model's context.
    """
    verify(data)
    with StepFolder(
        out, "refine", config, inputs={"data": data, "model": model}, seed=seed, engine=engine
    ) as step:
        if step.finished:
            return
        samples = list(read_records(data / "records.jsonl", Sample))
        journal = step.journal("attempts.jsonl", Attempt, key=lambda attempt: attempt.key)
        rows = Refiner(config, load_engine(engine, model), journal, seed).refine(samples)
        step.finish(summarise(rows), {"records.jsonl": rows})


@dataclass(frozen=True)
class Task:
    """One component of one sample, with the prompt that asks for its rewrite.

    `trace` is what the thinking block is filled with; None where the trace itself is asked for.
    """

    sample: Sample
    part: Component
    original: str
    prompt: str
    trace: str | None

    def key(self, candidate: int) -> str:
        return f"{self.sample.id}/{self.part.value}/{candidate}"


@dataclass
class Trial:
    """What the candidates of one task came to so far."""

    task: Task
    passed: list[Attempt] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    candidates: int = 0
    tokens: int = 0


class Refiner:
    """Refines all traces, then all answers on the refined traces."""

    def __init__(
        self, config: RefineConfig, engine: Engine, journal: Journal[Attempt], seed: int
    ) -> None:
        if config.max_new_tokens >= engine.context_length:
            raise UserError(
                f"refine.max_new_tokens {config.max_new_tokens:,} leaves no room for a prompt in "
                f"the model's context of {engine.context_length:,} tokens; lower it"
            )
        self.config, self.engine, self.journal, self.seed = config, engine, journal, seed
        self.control = QualityControl(config.quality, load_judge(config.judge))

    def refine(self, samples: Sequence[Sample]) -> list[RefinedSample]:
        traces = self._component([self._trace_task(sample) for sample in samples])
        answers = self._component(
            [
                self._answer_task(sample, sample.trace if trace.text is None else trace.text)
                for sample, trace in zip(samples, traces, strict=True)
            ]
        )
        return [
            RefinedSample(sample=sample, trace=trace, answer=answer)
            for sample, trace, answer in zip(samples, traces, answers, strict=True)
        ]

    def _trace_task(self, sample: Sample) -> Task:
        prompt = fill(self.config.trace_template, question=sample.question, trace=sample.trace)
        return Task(sample, Component.TRACE, sample.trace, prompt, trace=None)

    def _answer_task(self, sample: Sample, trace: str) -> Task:
        prompt = fill(
            self.config.answer_template,
            question=sample.question,
            trace=trace,
            answer=sample.answer,
        )
        return Task(sample, Component.ANSWER, sample.answer, prompt, trace=trace)

    def _component(self, tasks: Sequence[Task]) -> list[Refinement]:
        limit = self.config.max_new_tokens
        trials = {
            task.sample.id: Trial(task)
            for task in tasks
            if task.original.strip() and self.engine.fits(self._request(task, 0), limit)
        }
        for attempt in range(self.config.resample + 1):
            self._try([trial for trial in trials.values() if not trial.passed], attempt)
        nlls = self._nlls(trials.values()) if self.config.selection == "lowest_nll" else {}
        return [_refinement(task, trials.get(task.sample.id), nlls) for task in tasks]

    def _try(self, trials: Sequence[Trial], attempt: int) -> None:
        """Sample and check the candidates of one attempt at every trial."""
        count = self.config.candidates
        candidates = range(attempt * count, (attempt + 1) * count)
        self._sample([trial.task for trial in trials], candidates)
        for trial in trials:
            for candidate in candidates:
                self._check(trial, self.journal.rows[trial.task.key(candidate)])

    def _sample(self, tasks: Sequence[Task], candidates: Iterable[int]) -> None:
        """Fill the journal, in one batch of requests."""
        requests = {
            request.key: request
            for task in tasks
            for request in (self._request(task, candidate) for candidate in candidates)
            if request.key not in self.journal
        }
        if not requests:
            return
        label = f"refine {tasks[0].part.value}s"
        with Progress(label, len(requests), "candidates") as progress:
            for completion in self.engine.generate(requests.values(), self.config.sampling()):
                self.journal.add(_attempt(completion, requests[completion.key]))
                progress.advance()

    def _request(self, task: Task, candidate: int) -> Request:
        return Request(
            key=task.key(candidate),
            question=task.prompt,
            trace=task.trace,
            until="trace" if task.part is Component.TRACE else "end",
            seed=derive(self.seed, "refine", task.sample.id, task.part.value, candidate),
        )

    def _check(self, trial: Trial, attempt: Attempt) -> None:
        task = trial.task
        trial.candidates += 1
        trial.tokens += attempt.tokens
        problem = self.control.problem(
            Candidate(task.sample, task.part, task.original, attempt.text, attempt.complete)
        )
        if problem is None:
            trial.passed.append(attempt)
        else:
            trial.reasons.append(problem)

    def _nlls(self, trials: Iterable[Trial]) -> dict[str, float]:
        """Mean negative log-likelihood of every candidate that passed, in nats per token.

        Nothing is journalled: equal batches give equal bytes when the step starts again.
        """
        requests = [
            _score_request(trial.task, attempt) for trial in trials for attempt in trial.passed
        ]
        on_trace = {trial.task.part for trial in trials} == {Component.TRACE}
        found: dict[str, float] = {}
        for score in self.engine.score(requests):
            values = score.trace if on_trace else score.answer
            found[score.key] = -sum(values) / len(values)
        return found


def _score_request(task: Task, attempt: Attempt) -> ScoreRequest:
    """The rewrite on the bare question: the context that it will be trained in."""
    question = task.sample.question
    if task.part is Component.TRACE:
        return ScoreRequest(attempt.key, question, attempt.text, "")
    return ScoreRequest(attempt.key, question, task.trace or "", attempt.text)


def _refinement(task: Task, trial: Trial | None, nlls: Mapping[str, float]) -> Refinement:
    """The first candidate that passed, or the one that the model finds likeliest."""
    if not task.original.strip():
        return Refinement(original=task.original, text=task.original, candidates=0, tokens=0)
    if trial is None:
        return Refinement(
            original=task.original, text=None, reasons=(TOO_LONG,), candidates=0, tokens=0
        )
    chosen = min(trial.passed, key=lambda attempt: nlls.get(attempt.key, 0.0), default=None)
    return Refinement(
        original=task.original,
        text=chosen.text if chosen else None,
        reasons=tuple(trial.reasons),
        candidates=trial.candidates,
        tokens=trial.tokens,
        nll=nlls.get(chosen.key) if chosen else None,
    )


def _attempt(completion: Completion, request: Request) -> Attempt:
    is_trace = request.until == "trace"
    return Attempt(
        key=completion.key,
        text=completion.trace if is_trace else completion.answer,
        complete=completion.finish is Finish.STOP and completion.closed,
        tokens=completion.tokens,
    )


def summarise(rows: Sequence[RefinedSample]) -> dict[str, Any]:
    """Fallback rates and, per component, reasons, tokens, and lengths before and after.

    `fallback_rate` is the share of rows with a component that no candidate replaced,
    `fully_refined` the share of those whose components were both rewritten.
    """
    parts = {
        Component.TRACE: [row.trace for row in rows],
        Component.ANSWER: [row.answer for row in rows],
    }
    pairs = [(row.trace, row.answer) for row in rows]
    return {
        "rows": len(rows),
        "fallback_rate": _share(any(part.text is None for part in pair) for pair in pairs),
        "fully_refined": _share(all(_rewritten(part) for part in pair) for pair in pairs),
        "components": {part.value: _component_summary(found) for part, found in parts.items()},
    }


def _rewritten(part: Refinement) -> bool:
    return part.text is not None and part.candidates > 0


def _component_summary(found: Sequence[Refinement]) -> dict[str, Any]:
    """`characters` compares the components that were rewritten with what they were before."""
    with_text = [row for row in found if row.original.strip()]
    rewritten = [row for row in found if _rewritten(row)]
    return {
        "fallback_rate": _share(row.text is None for row in with_text),
        "left_empty": len(found) - len(with_text),
        "candidates": sum(row.candidates for row in found),
        "failed_candidates": _counts(reason for row in found for reason in row.reasons),
        "fallbacks": _counts(row.reasons[-1] for row in found if row.text is None),
        "tokens": sum(row.tokens for row in found),
        "characters": {
            "original": mean([float(len(row.original)) for row in rewritten]),
            "refined": mean([float(len(row.text or "")) for row in rewritten]),
        },
    }


def _counts(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _share(flags: Iterable[bool]) -> Estimate:
    return proportion([[float(flag)] for flag in flags])

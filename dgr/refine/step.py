"""The step: canonical samples in, refined samples out.

The rewrite is sampled where the model would write it: the trace inside an open thinking block,
up to its end; the answer after a thinking block that is filled with the refined trace (with the
original one where its rewrite failed). So both parts come from the distribution that they will
be trained in.

A component without text has nothing to rewrite: it stays empty and is no fallback.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from dgr.engines import EngineConfig, load_engine
from dgr.engines.base import Completion, Engine, Request, ScoreRequest
from dgr.engines.usage import Metered
from dgr.errors import UserError
from dgr.files import count_records, read_records
from dgr.journal import Journal
from dgr.judges import load_judge
from dgr.merging import Union
from dgr.progress import Progress
from dgr.records import Component, Finish, RefinedSample, Refinement, Sample
from dgr.refine.config import RefineConfig
from dgr.refine.quality import Candidate, QualityControl
from dgr.refine.summary import Summary
from dgr.seeds import derive
from dgr.shards import Shard, share
from dgr.steps import StepFolder, verify
from dgr.templates import fill

TOO_LONG = "too-long"
"""Reason of a component whose prompt leaves no room for the rewrite in the model's context."""
WINDOW = 4_096
"""Rows that are refined at once, which is what memory holds: enough to keep any engine busy."""


@dataclass(slots=True)
class Attempt:
    """One candidate as it was sampled: what the journal keeps."""

    key: str
    text: str
    complete: bool
    tokens: int
    prompt_tokens: int = 0


def refine(
    config: RefineConfig,
    *,
    engine: EngineConfig,
    model: Path,
    data: Path,
    out: Path,
    seed: int,
    shard: Shard | None = None,
) -> None:
    """Rewrite the samples that `ingest` left in `data` with the model in folder `model`.

    Writes `records.jsonl` (RefinedSample, in the order of the input) and `summary.json` (see
    `dgr.refine.summary`); with a `shard`, of its rows alone. A stopped refinement goes on where
    it was. Raises `UserError` when `max_new_tokens` leaves no room for a prompt in the model's
    context.
    """
    verify(data)
    inputs = {"data": data, "model": model}
    with StepFolder(
        out, "refine", config, inputs=inputs, seed=seed, engine=engine, shard=shard
    ) as step:
        if step.finished:
            return
        records = data / "records.jsonl"
        rows = sum(1 for _ in share(range(count_records(records)), shard))
        ledger = step.ledger("records.jsonl", RefinedSample, WINDOW)
        journal = step.journal("attempts.jsonl", Attempt, key=lambda attempt: attempt.key)
        samples = islice(share(read_records(records, Sample), shard), ledger.count, None)
        summary = Summary(ledger)
        with Metered(load_engine(engine, model)) as metered:
            refiner = Refiner(config, metered, journal, seed)
            left = refiner.expected(rows - ledger.count)
            with Progress("refine", left, "candidates") as progress:
                while window := list(islice(samples, WINDOW)):
                    refined = refiner.refine(window, progress)
                    ledger.extend(refined)
                    journal.clear()
                    summary.add(refined)
            step.finish(summary.figures(), {"records.jsonl": ledger}, metered.cost())


def merge(parts: Sequence[Path], *, out: Path) -> None:
    """Put the finished shards of one refinement together in `out`, as if it had been done at once.

    Raises `UserError` when one is missing, there twice, or of other data, model, config or code.
    """
    union = Union(parts, "refine")
    with StepFolder.of(out, union.identity) as step:
        if not step.finished:
            summary = Summary(union.rows(RefinedSample, _id))
            rows = union.rows(RefinedSample, _id)
            step.finish(summary.figures(), {"records.jsonl": rows}, union.cost())


def _id(row: RefinedSample) -> str:
    return row.sample.id


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
        return f"{self.sample.id}/{self.part}/{candidate}"


@dataclass
class Trial:
    """What the candidates of one task came to so far."""

    task: Task
    request: Request
    """That of the first candidate; the others differ in key and seed."""
    passed: list[Attempt] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    candidates: int = 0
    tokens: int = 0
    prompt_tokens: int = 0


class Refiner:
    """Refines a window of rows: all traces, then all answers on the refined traces."""

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

    def expected(self, rows: int) -> int:
        """Candidates of so many rows, if all have both parts and none is tried again."""
        return len(Component) * self.config.candidates * rows

    def refine(self, samples: Sequence[Sample], progress: Progress) -> list[RefinedSample]:
        traces = self._component([self._trace_task(sample) for sample in samples], progress)
        answers = self._component(
            [
                self._answer_task(sample, sample.trace if trace.text is None else trace.text)
                for sample, trace in zip(samples, traces, strict=True)
            ],
            progress,
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

    def _component(self, tasks: Sequence[Task], progress: Progress) -> list[Refinement]:
        trials = self._trials(tasks)
        progress.total += self.config.candidates * (len(trials) - len(tasks))
        for attempt in range(self.config.resample + 1):
            self._try([trial for trial in trials.values() if not trial.passed], attempt, progress)
        nlls = self._nlls(trials.values()) if self.config.selection == "lowest_nll" else {}
        return [_refinement(task, trials.get(task.sample.id), nlls) for task in tasks]

    def _trials(self, tasks: Sequence[Task]) -> dict[str, Trial]:
        """Of what has a text, and room for another."""
        trials = {}
        for task in tasks:
            if task.original.strip():
                request = self._request(task)
                if self.engine.fits(request, self.config.max_new_tokens):
                    trials[task.sample.id] = Trial(task, request)
        return trials

    def _try(self, trials: Sequence[Trial], attempt: int, progress: Progress) -> None:
        """Sample and check the candidates of one attempt at every trial."""
        count = self.config.candidates
        candidates = range(attempt * count, (attempt + 1) * count)
        progress.total += count * len(trials) if attempt else 0
        found = self._sample(trials, candidates, progress)
        for trial in trials:
            for candidate in candidates:
                self._check(trial, found[trial.task.key(candidate)])

    def _sample(
        self, trials: Sequence[Trial], candidates: Iterable[int], progress: Progress
    ) -> dict[str, Attempt]:
        """Every candidate by its key: those of the journal, and the others in one batch."""
        requests = {
            request.key: request
            for trial in trials
            for request in (self._candidate(trial, candidate) for candidate in candidates)
        }
        found = {key: self.journal.rows[key] for key in requests if key in self.journal}
        missing = [request for key, request in requests.items() if key not in found]
        progress.advance(len(found))
        for completion in self._generate(missing):
            attempt = _attempt(completion, requests[completion.key])
            self.journal.add(attempt)
            found[attempt.key] = attempt
            progress.advance()
        return found

    def _generate(self, requests: Sequence[Request]) -> Iterator[Completion]:
        return self.engine.generate(requests, self.config.sampling()) if requests else iter(())

    def _request(self, task: Task) -> Request:
        return Request(
            key=task.key(0),
            question=task.prompt,
            trace=task.trace,
            until="trace" if task.part is Component.TRACE else "end",
            seed=self._seed(task, 0),
        )

    def _candidate(self, trial: Trial, candidate: int) -> Request:
        if candidate == 0:
            return trial.request
        task = trial.task
        return replace(trial.request, key=task.key(candidate), seed=self._seed(task, candidate))

    def _seed(self, task: Task, candidate: int) -> int:
        return derive(self.seed, "refine", task.sample.id, task.part, candidate)

    def _check(self, trial: Trial, attempt: Attempt) -> None:
        task = trial.task
        trial.candidates += 1
        trial.tokens += attempt.tokens
        trial.prompt_tokens += attempt.prompt_tokens
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
    passed = sorted(trial.passed, key=lambda attempt: nlls[attempt.key]) if nlls else trial.passed
    chosen = passed[0] if passed else None
    return Refinement(
        original=task.original,
        text=chosen.text if chosen else None,
        reasons=tuple(trial.reasons),
        candidates=trial.candidates,
        tokens=trial.tokens,
        prompt_tokens=trial.prompt_tokens,
        nll=nlls.get(chosen.key) if chosen else None,
    )


def _attempt(completion: Completion, request: Request) -> Attempt:
    is_trace = request.until == "trace"
    return Attempt(
        key=completion.key,
        text=completion.trace if is_trace else completion.answer,
        complete=completion.finish is Finish.STOP and completion.closed,
        tokens=completion.tokens,
        prompt_tokens=completion.prompt_tokens,
    )

"""The step: canonical samples in, refined samples out.

The rewrite is sampled where the model would write it: the trace inside an open thinking block,
up to its end; the answer after a thinking block that is filled with the refined trace (with the
original one where its rewrite failed). So both parts come from the distribution that they will
be trained in.

A component without text has nothing to rewrite: it stays empty and is no fallback.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
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
from dgr.records import Component, Finish, RefinedSample, Sample
from dgr.refine.config import RefineConfig
from dgr.refine.quality import Candidate, QualityControl
from dgr.refine.summary import Summary
from dgr.refine.trials import Agenda, Attempt, Task, Trial
from dgr.seeds import derive
from dgr.shards import Shard, places
from dgr.steps import StepFolder, verify
from dgr.templates import fill

WINDOW = 4_096
"""Rows that are refined at once, which is what memory holds: enough to keep any engine busy."""


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
    `dgr.refine.summary`); with a `shard`, of its rows alone, and `counts` that can be added up.
    A stopped refinement goes on where it was. Raises `UserError` when `max_new_tokens` leaves no
    room for a prompt in the model's context.
    """
    verify(data)
    inputs = {"data": data, "model": model}
    with StepFolder(
        out, "refine", config, inputs=inputs, seed=seed, engine=engine, shard=shard
    ) as step:
        if step.finished:
            return
        records = data / "records.jsonl"
        rows = len(range(count_records(records))[places(shard)])
        ledger = step.ledger("records.jsonl", RefinedSample, WINDOW)
        journal = step.journal("attempts.jsonl", Attempt, key=lambda attempt: attempt.key)
        samples = read_records(records, Sample, places(shard, ledger.count))
        summary, cost = Summary(), dict[str, float]()
        summary.add(ledger)
        if rows > ledger.count:  # else no engine need start
            with Metered(load_engine(engine, model)) as metered:
                refiner = Refiner(config, metered, journal, seed)
                left = refiner.expected(rows - ledger.count)
                with Progress("refine", left, "candidates") as progress:
                    while window := list(islice(samples, WINDOW)):
                        refined = refiner.refine(window, progress)
                        ledger.extend(refined)
                        journal.clear()
                        summary.add(refined)
                cost = metered.cost()
        figures = summary.figures() | ({"counts": summary.counts()} if shard else {})
        step.finish(figures, {"records.jsonl": ledger.blocks()}, cost)


def merge(parts: Sequence[Path], *, out: Path) -> None:
    """Put the finished shards of one refinement together in `out`, as if it had been done at once.

    Raises `UserError` when one is missing, there twice, or of other data, model, config or code.
    """
    union = Union(parts, "refine")
    with StepFolder.of(out, union.identity) as step:
        if step.finished:
            return
        # Nothing is read twice nor resumed: it takes as long as the files take to copy.
        summary = Summary.together(found["counts"] for found in union.summaries())
        step.finish(summary.figures(), {"records.jsonl": union.lines()}, union.cost())


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
        traces = (self._trial(self._trace_task(sample)) for sample in samples)
        if self.config.selection == "first":
            # An answer is asked for as soon as its trace is there: nothing waits for the slowest.
            trials = self._settle(traces, progress, self._answer_trial)
        else:
            # Which trace is taken is known when those of all rows are scored.
            trials = self._settle(traces, progress)
            self._score(trials.values())
            answers = self._settle(map(self._answer_trial, trials.values()), progress)
            self._score(answers.values())
            trials |= answers
        return [
            RefinedSample(
                sample=sample,
                trace=trials[sample.id, Component.TRACE].refinement(),
                answer=trials[sample.id, Component.ANSWER].refinement(),
            )
            for sample in samples
        ]

    def _trial(self, task: Task) -> Trial:
        """Of a component with a text, and with room for another; else nothing is asked."""
        if task.original.strip():
            request = Request(
                key=task.key(0),
                question=task.prompt,
                trace=task.trace,
                until="trace" if task.part is Component.TRACE else "end",
                seed=self._seed(task, 0),
            )
            if self.engine.fits(request, self.config.max_new_tokens):
                return Trial(task, request)
        return Trial(task, None)

    def _trace_task(self, sample: Sample) -> Task:
        prompt = fill(self.config.trace_template, question=sample.question, trace=sample.trace)
        return Task(sample, Component.TRACE, sample.trace, prompt, trace=None)

    def _answer_trial(self, traced: Trial) -> Trial:
        """That of the answer, on the trace that came of the sample's own."""
        sample, chosen = traced.task.sample, traced.chosen
        trace = chosen.text if chosen else sample.trace
        prompt = fill(
            self.config.answer_template,
            question=sample.question,
            trace=trace,
            answer=sample.answer,
        )
        return self._trial(Task(sample, Component.ANSWER, sample.answer, prompt, trace=trace))

    def _settle(
        self,
        trials: Iterable[Trial],
        progress: Progress,
        then: Callable[[Trial], Trial] | None = None,
    ) -> dict[tuple[str, Component], Trial]:
        """Sample and check until all trials are settled, and those that follow the ones of traces.

        All come back by sample and component.
        """
        count = self.config.candidates

        def follow(trial: Trial) -> Trial | None:
            progress.total += trial.candidates - count  # of each component a round was expected
            return then(trial) if then and trial.task.part is Component.TRACE else None

        agenda = Agenda(
            trials,
            count,
            self.config.resample + 1,
            check=self._check,
            seed=self._seed,
            follow=follow,
        )
        asked = self._missing(agenda, progress)
        first = next(asked, None)
        if first is not None:  # else the journal has it all, and no engine need start
            for completion in self.engine.generate(chain([first], asked), self.config.sampling()):
                attempt = _attempt(completion, agenda.task(completion.key).part)
                self.journal.add(attempt)
                progress.advance()
                agenda.take(attempt)
        return {(trial.task.sample.id, trial.task.part): trial for trial in agenda.settled}

    def _missing(self, agenda: Agenda, progress: Progress) -> Iterator[Request | None]:
        """The requests that the journal has no answer to."""
        for request in agenda.requests():
            if request is not None and request.key in self.journal:
                progress.advance()
                agenda.take(self.journal.rows[request.key])
            else:
                yield request

    def _seed(self, task: Task, candidate: int) -> int:
        return derive(self.seed, "refine", task.sample.id, task.part.value, candidate)

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

    def _score(self, trials: Iterable[Trial]) -> None:
        """Note the mean negative log-likelihood of every candidate that passed.

        Nothing is journalled: equal batches give equal bytes when the step starts again.
        """
        scored = {one.key: (trial, one) for trial in trials for one in trial.passed}
        requests = [_score_request(trial.task, one) for trial, one in scored.values()]
        for score in self.engine.score(requests):
            trial, _ = scored[score.key]
            values = score.trace if trial.task.part is Component.TRACE else score.answer
            trial.nlls[score.key] = -sum(values) / len(values)


def _score_request(task: Task, attempt: Attempt) -> ScoreRequest:
    """The rewrite on the bare question: the context that it will be trained in."""
    question = task.sample.question
    if task.part is Component.TRACE:
        return ScoreRequest(attempt.key, question, attempt.text, "")
    return ScoreRequest(attempt.key, question, task.trace or "", attempt.text)


def _attempt(completion: Completion, part: Component) -> Attempt:
    return Attempt(
        key=completion.key,
        text=completion.trace if part is Component.TRACE else completion.answer,
        complete=completion.finish is Finish.STOP and completion.closed,
        tokens=completion.tokens,
        prompt_tokens=completion.prompt_tokens,
    )

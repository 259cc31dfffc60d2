"""The step: the target's own completions, each with whether it may be trained on."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dgr.engines import EngineConfig, load_engine
from dgr.engines.base import Completion, Engine, Request
from dgr.engines.usage import Metered
from dgr.errors import UserError
from dgr.files import read_records
from dgr.journal import Journal
from dgr.judges import load_judge
from dgr.judges.marking import load_marker
from dgr.own.config import OwnConfig
from dgr.own.keeping import Keeping
from dgr.own.prompts import Task, plan
from dgr.progress import Progress
from dgr.records import Finish, OwnPurpose, OwnSample, Record, Sample
from dgr.seeds import derive
from dgr.stats import mean, proportion
from dgr.steps import StepFolder, verify
from dgr.storage import fetch_file

TOO_LONG = "too-long"
"""Reason of a prompt that leaves no room for a completion in the model's context."""


class Attempt(Record):
    """One sample of one prompt: what the journal keeps."""

    key: str
    sample: OwnSample


def sample_own(
    config: OwnConfig, *, engine: EngineConfig, model: Path, data: Path, out: Path, seed: int
) -> None:
    """Sample the target in folder `model` on the prompts of `data` and of the mix.

    Writes `records.jsonl` (OwnSample: references, mix, refusals, each in the order of its
    prompts) and `summary.json` (see `summarise`). A reference is sampled once, so that nothing
    chooses among what shift is measured against; the others until one is kept, `attempts` times
    at most. A stopped step goes on where it was. Raises `UserError` for a bad mix file, and when
    `max_new_tokens` leaves no room for a prompt in the model's context.
    """
    verify(data)
    inputs = {"data": data, "model": model}
    inputs |= {f"mix/{place}": fetch_file(mix.path) for place, mix in enumerate(config.mix)}
    with StepFolder(out, "own", config, inputs=inputs, seed=seed, engine=engine) as step:
        if step.finished:
            return
        samples = list(read_records(data / "records.jsonl", Sample))
        tasks = plan(config, samples, seed)
        journal = step.journal("attempts.jsonl", Attempt, key=lambda attempt: attempt.key)
        attempts: list[list[OwnSample]] = []
        cost: dict[str, float] = {}
        if tasks:
            with Metered(load_engine(engine, model)) as metered:
                attempts = Sampler(config, metered, journal, seed).sample(tasks)
                cost = metered.cost()
        rows = [tried[-1] for tried in attempts]
        step.finish(summarise(attempts), {"records.jsonl": rows}, cost)


class Sampler:
    """Samples each task until a sample is kept, `attempts` times at most."""

    def __init__(
        self, config: OwnConfig, engine: Engine, journal: Journal[Attempt], seed: int
    ) -> None:
        if config.max_new_tokens >= engine.context_length:
            raise UserError(
                f"own.max_new_tokens {config.max_new_tokens:,} leaves no room for a prompt in "
                f"the model's context of {engine.context_length:,} tokens; lower it"
            )
        self.config, self.engine, self.journal, self.seed = config, engine, journal, seed
        mark = load_marker(config.scorer) if config.scorer else None
        self.keeping = Keeping(load_judge(config.judge), mark)

    def sample(self, tasks: Sequence[Task]) -> list[list[OwnSample]]:
        """Every sample of every task, in the order of the tasks; the last one counts."""
        tried: dict[str, list[OwnSample]] = {task.key: [] for task in tasks}
        waiting = list(tasks)
        for attempt in range(self.config.attempts):
            fitting = [task for task in waiting if self._fits(task)]
            self._generate(fitting, attempt)
            for task in fitting:
                tried[task.key].append(self.journal.rows[_key(task, attempt)].sample)
            waiting = [
                task
                for task in fitting
                if task.purpose is not OwnPurpose.REFERENCE and not tried[task.key][-1].kept
            ]
        return [tried[task.key] or [_too_long(task)] for task in tasks]

    def _fits(self, task: Task) -> bool:
        return self.engine.fits(self._request(task, 0), self.config.max_new_tokens)

    def _generate(self, tasks: Sequence[Task], attempt: int) -> None:
        """Fill the journal with one sample of each task, in one batch of requests."""
        missing = {
            _key(task, attempt): task for task in tasks if _key(task, attempt) not in self.journal
        }
        if not missing:
            return
        requests = [self._request(task, attempt) for task in missing.values()]
        with Progress("own", len(requests), "completions") as progress:
            for completion in self.engine.generate(requests, self.config.sampling()):
                sample = self._sample(missing[completion.key], completion)
                self.journal.add(Attempt(key=completion.key, sample=sample))
                progress.advance()

    def _request(self, task: Task, attempt: int) -> Request:
        seed = derive(self.seed, "own", task.purpose.value, task.id, attempt)
        return Request(_key(task, attempt), task.prompt, seed=seed)

    def _sample(self, task: Task, completion: Completion) -> OwnSample:
        problem = self.keeping.problem(task, completion)
        return OwnSample(
            id=task.id,
            purpose=task.purpose,
            question=task.question,
            trace=completion.trace,
            answer=completion.answer,
            finish=completion.finish,
            tokens=completion.tokens,
            prompt_tokens=completion.prompt_tokens,
            harmful=task.harmful,
            kept=problem is None,
            reason=problem or "",
        )


def _key(task: Task, attempt: int) -> str:
    """Unique: no purpose and no number holds a slash."""
    return f"{task.key}/{attempt}"


def _too_long(task: Task) -> OwnSample:
    """What stands for a prompt that was never sampled."""
    return OwnSample(
        id=task.id,
        purpose=task.purpose,
        question=task.question,
        trace="",
        answer="",
        finish=Finish.LENGTH,
        tokens=0,
        harmful=task.harmful,
        kept=False,
        reason=TOO_LONG,
    )


def summarise(attempts: Iterable[Sequence[OwnSample]]) -> dict[str, Any]:
    """Per purpose: the share of prompts with a kept sample, why the others have none, lengths.

    `dropped` counts prompts by what was wrong with their last sample, `failed_samples` all
    samples; `tokens` and `characters` are of the kept ones, `tokens_generated` of all.
    """
    by_purpose: dict[str, list[Sequence[OwnSample]]] = {}
    for tried in attempts:
        by_purpose.setdefault(tried[-1].purpose.value, []).append(tried)
    return {purpose: _purpose_summary(found) for purpose, found in by_purpose.items()}


def _purpose_summary(attempts: Sequence[Sequence[OwnSample]]) -> dict[str, Any]:
    every = [row for tried in attempts for row in tried if row.reason != TOO_LONG]
    last = [tried[-1] for tried in attempts]
    kept = [row for row in last if row.kept]
    return {
        "prompts": len(last),
        "samples": len(every),
        "kept": proportion([[float(row.kept)] for row in last]),
        "dropped": _reasons(last),
        "failed_samples": _reasons(every),
        "tokens_generated": sum(row.tokens for row in every),
        "prompt_tokens": sum(row.prompt_tokens for row in every),
        "tokens": mean([float(row.tokens) for row in kept]),
        "characters": {
            "trace": mean([float(len(row.trace)) for row in kept]),
            "answer": mean([float(len(row.answer)) for row in kept]),
        },
    }


def _reasons(rows: Iterable[OwnSample]) -> dict[str, int]:
    return dict(sorted(Counter(row.reason for row in rows if not row.kept).items()))

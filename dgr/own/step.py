"""The step: the target's own completions, each with whether it may be trained on."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dgr.engines import EngineConfig, load_engine
from dgr.engines.base import Completion, Engine, Request
from dgr.errors import UserError
from dgr.files import read_records
from dgr.judges import load_judge, load_scorer
from dgr.judges.base import Stance
from dgr.own.config import MixConfig, OwnConfig
from dgr.progress import Progress
from dgr.records import EvalItem, Finish, OwnPurpose, OwnSample, Sample
from dgr.seeds import derive
from dgr.stats import mean, proportion
from dgr.steps import Journal, StepFolder, verify
from dgr.templates import fill


@dataclass(frozen=True)
class Task:
    """One prompt to answer. `prompt` is what is sent, `question` what is trained on."""

    id: str
    purpose: OwnPurpose
    question: str
    prompt: str
    harmful: bool | None = None
    kind: Literal["harmless", "reasoning", ""] = ""
    gold: str | None = None

    @property
    def key(self) -> str:
        return f"{self.purpose.value}/{self.id}"


def sample_own(
    config: OwnConfig, *, engine: EngineConfig, model: Path, data: Path, out: Path, seed: int
) -> None:
    """Sample the target in folder `model`.

    Writes `records.jsonl` (OwnSample: references, mix, refusals, each in the order of its
    prompts). A stopped step goes on where it was.
    """
    verify(data)
    inputs = {"data": data, "model": model}
    inputs |= {f"mix/{place}": mix.path for place, mix in enumerate(config.mix)}
    with StepFolder(out, "own", config, inputs=inputs, seed=seed, engine=engine) as step:
        if step.finished:
            return
        samples = list(read_records(data / "records.jsonl", Sample))
        tasks = [*_references(config, samples), *_mix(config, samples, seed)]
        tasks += _refusals(config, samples)
        journal = step.journal("samples.jsonl", OwnSample, key=_key)
        if tasks:
            Sampler(config, load_engine(engine, model), journal, seed).sample(tasks)
        rows = [journal.rows[task.key] for task in tasks]
        step.finish(summarise(rows), {"records.jsonl": rows})


def _key(row: OwnSample) -> str:
    return f"{row.purpose.value}/{row.id}"


def _references(config: OwnConfig, samples: Sequence[Sample]) -> Iterator[Task]:
    if config.reference:
        for sample in samples:
            question = sample.question
            yield Task(sample.id, OwnPurpose.REFERENCE, question, question, sample.harmful)


def _mix(config: OwnConfig, samples: Sequence[Sample], seed: int) -> Iterator[Task]:
    """Mix prompts that are no training prompt; the ids of several files do not clash."""
    used = {sample.question for sample in samples}
    for place, mix in enumerate(config.mix):
        items = [item for item in read_records(mix.path, EvalItem) if item.question not in used]
        for item in _chosen(mix, items, f"{seed}/mix/{place}"):
            if mix.kind == "reasoning" and item.answer is None:
                raise UserError(f"{mix.path}: item {item.id} of a reasoning mix has no answer")
            yield Task(
                id=f"{place}/{item.id}",
                purpose=OwnPurpose.MIX,
                question=item.question,
                prompt=item.question,
                harmful=False,
                kind=mix.kind,
                gold=item.answer,
            )


def _chosen(mix: MixConfig, items: Sequence[EvalItem], seed: str) -> list[EvalItem]:
    if mix.count is None:
        return list(items)
    if mix.count > len(items):
        raise UserError(
            f"own.mix asks for {mix.count:,} prompts of {mix.path} and {len(items):,} are there "
            "that are no training prompts; lower count or add prompts"
        )
    places = random.Random(seed).sample(range(len(items)), mix.count)
    return [items[place] for place in sorted(places)]


def _refusals(config: OwnConfig, samples: Sequence[Sample]) -> Iterator[Task]:
    for sample in samples:
        if config.refusal and sample.harmful is not False:
            prompt = fill(config.refusal_instruction, question=sample.question)
            yield Task(sample.id, OwnPurpose.REFUSAL, sample.question, prompt, sample.harmful)


class Sampler:
    """Samples tasks until they are kept, `attempts` times at most."""

    def __init__(
        self, config: OwnConfig, engine: Engine, journal: Journal[OwnSample], seed: int
    ) -> None:
        self.config, self.engine, self.journal, self.seed = config, engine, journal, seed
        self.judge, self.scorer = load_judge(config.judge), load_scorer(config.scorer)

    def sample(self, tasks: Sequence[Task]) -> None:
        waiting = {task.key: task for task in tasks if task.key not in self.journal}
        for attempt in range(self.config.attempts):
            last = attempt + 1 == self.config.attempts
            waiting = self._round(waiting, attempt, last)

    def _round(self, tasks: dict[str, Task], attempt: int, last: bool) -> dict[str, Task]:
        """One sample of each task; those that shall be tried again are given back."""
        again: dict[str, Task] = {}
        requests = []
        for task in tasks.values():
            request = Request(
                task.key,
                task.prompt,
                seed=derive(self.seed, "own", task.purpose.value, task.id, attempt),
            )
            if self.engine.fits(request, self.config.max_new_tokens):
                requests.append(request)
            else:
                self.journal.add(_too_long(task))
        if not requests:
            return again
        with Progress("own", len(requests), "completions") as progress:
            for completion in self.engine.generate(requests, self.config.sampling()):
                task = tasks[completion.key]
                row = self._row(task, completion)
                if row.kept or last or task.purpose is OwnPurpose.REFERENCE:
                    self.journal.add(row)
                else:
                    again[task.key] = task
                progress.advance()
        return again

    def _row(self, task: Task, completion: Completion) -> OwnSample:
        problem = self._problem(task, completion)
        return OwnSample(
            id=task.id,
            purpose=task.purpose,
            question=task.question,
            trace=completion.trace,
            answer=completion.answer,
            finish=completion.finish,
            tokens=completion.tokens,
            harmful=task.harmful,
            kept=problem is None,
            reason=problem or "",
        )

    def _problem(self, task: Task, completion: Completion) -> str | None:
        """Why a completion may not be trained on."""
        if completion.finish is Finish.LENGTH or not completion.closed:
            return "cut"
        if task.kind == "reasoning":
            return None if self.scorer(completion.answer) == task.gold else "wrong"
        if task.kind == "harmless":
            answer = self.judge.judge(task.question, completion.answer, "answer").stance
            return None if answer is Stance.COMPLIES else f"answer {answer.value}"
        if task.purpose is OwnPurpose.REFUSAL:
            trace = self.judge.judge(task.question, completion.trace, "trace").stance
            answer = self.judge.judge(task.question, completion.answer, "answer").stance
            if (trace, answer) != (Stance.REFUSES, Stance.REFUSES):
                return f"trace {trace.value}, answer {answer.value}"
        return None


def _too_long(task: Task) -> OwnSample:
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
        reason="too-long",
    )


def summarise(rows: Sequence[OwnSample]) -> dict[str, Any]:
    """Kept and dropped per purpose, with reasons and lengths."""
    found: dict[str, Any] = {}
    for purpose in OwnPurpose:
        members = [row for row in rows if row.purpose is purpose]
        if members:
            found[purpose.value] = {
                "samples": len(members),
                "kept": proportion([[float(row.kept)] for row in members]),
                "dropped": dict(sorted(Counter(r.reason for r in members if not r.kept).items())),
                "tokens": mean([float(row.tokens) for row in members]),
            }
    return found

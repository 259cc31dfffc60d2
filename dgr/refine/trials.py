"""Rewrites under way: what they still ask for, and what came of them.

A trial is one component of one sample. Its candidates are asked for in rounds, until one of them
passes quality control or the rounds are used up; it is settled then, and what hangs on it may
follow. No trial waits for another.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from dgr.engines.base import Request
from dgr.records import Component, Refinement, Sample

TOO_LONG = "too-long"
"""Reason of a component whose prompt leaves no room for the rewrite in the model's context."""


@dataclass(slots=True)
class Attempt:
    """One candidate as it was sampled: what the journal keeps."""

    key: str
    text: str
    complete: bool
    tokens: int
    prompt_tokens: int = 0


@dataclass(slots=True)
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


@dataclass(slots=True)
class Trial:
    """What the candidates of one task came to so far."""

    task: Task
    request: Request | None
    """That of the first candidate; the others differ in key and seed. None: nothing is asked."""
    passed: list[Attempt] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    candidates: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    nlls: dict[str, float] = field(default_factory=dict)
    """Mean negative log-likelihood of candidates, by their keys, in nats a token."""
    came: dict[int, Attempt] = field(default_factory=dict)
    """Candidates of the round under way that have come, by their numbers."""

    @property
    def chosen(self) -> Attempt | None:
        """The first candidate that passed, or the one that the model finds likeliest."""
        if self.nlls:
            return min(self.passed, key=lambda attempt: self.nlls[attempt.key])
        return self.passed[0] if self.passed else None

    def refinement(self) -> Refinement:
        """What the record says of the task."""
        if self.request is None:
            return self._unasked()
        chosen = self.chosen
        return Refinement(
            original=self.task.original,
            text=chosen.text if chosen else None,
            reasons=tuple(self.reasons),
            candidates=self.candidates,
            tokens=self.tokens,
            prompt_tokens=self.prompt_tokens,
            nll=self.nlls.get(chosen.key) if chosen else None,
        )

    def _unasked(self) -> Refinement:
        text = self.task.original
        if text.strip():
            return Refinement(original=text, text=None, reasons=(TOO_LONG,), candidates=0, tokens=0)
        return Refinement(original=text, text=text, candidates=0, tokens=0)


class Agenda:
    """The requests of `trials`, and of those that follow, each as soon as it is known what it is.

    `trials` are drawn when a request is wanted, and before those that follow. A round is of
    `candidates`; a trial of which none passed gets `rounds` of them. `check` judges one candidate
    and notes the verdict in its trial, `seed` gives a candidate its seed, and `follow` is told of
    every trial that is settled: it may give another that hangs on it.
    """

    def __init__(
        self,
        trials: Iterable[Trial],
        candidates: int,
        rounds: int,
        *,
        check: Callable[[Trial, Attempt], None],
        seed: Callable[[Task, int], int],
        follow: Callable[[Trial], Trial | None],
    ) -> None:
        self._trials = trials
        self._candidates, self._most = candidates, rounds * candidates
        self._check, self._seed, self._follow = check, seed, follow
        self.settled: list[Trial] = []
        self._ready: deque[Request] = deque()
        self._open: dict[str, tuple[Trial, int]] = {}
        """Of every candidate that is still to come, its trial and its number."""

    def requests(self) -> Iterator[Request | None]:
        """All of them; None where the next one hangs on a candidate that is still to come."""
        for trial in self._trials:
            known = len(self._ready)
            self._begin(trial)
            yield from reversed([self._ready.pop() for _ in range(len(self._ready) - known)])
        while self._open:
            yield self._ready.popleft() if self._ready else None

    def task(self, key: str) -> Task:
        """The task of a candidate that is still to come."""
        return self._open[key][0].task

    def take(self, attempt: Attempt) -> None:
        """A candidate has come. With the last of its round, the round is checked in order."""
        trial, number = self._open.pop(attempt.key)
        trial.came[number] = attempt
        if len(trial.came) < self._candidates:
            return
        for _, one in sorted(trial.came.items()):
            self._check(trial, one)
        trial.came.clear()
        if trial.passed or trial.candidates >= self._most:
            self._settle(trial)
        else:
            self._begin(trial)

    def _settle(self, trial: Trial) -> None:
        self.settled.append(trial)
        after = self._follow(trial)
        if after is not None:
            self._begin(after)

    def _begin(self, trial: Trial) -> None:
        """Begin a round, where there is something to ask."""
        task, first = trial.task, trial.request
        if first is None:
            self._settle(trial)
            return
        for number in range(trial.candidates, trial.candidates + self._candidates):
            request = first
            if number:
                request = replace(first, key=task.key(number), seed=self._seed(task, number))
            self._open[request.key] = trial, number
            self._ready.append(request)

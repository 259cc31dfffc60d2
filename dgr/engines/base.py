"""The protocol of an engine: what generates completions and scores them.

An engine speaks in questions, traces and answers; how they become tokens (chat template,
thinking tags, special tokens kept as text) is its own business, through `dgr.thinking`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from dgr.records import Finish


@dataclass(frozen=True)
class Sampling:
    """How to sample. Defaults are those that reasoning models are evaluated with."""

    temperature: float = 0.6
    top_p: float = 0.95
    max_new_tokens: int = 512


@dataclass(frozen=True)
class Piece:
    """A part of a whole prompt. In markup special tokens count; elsewhere they are text."""

    text: str
    markup: bool = False


@dataclass(frozen=True)
class Request:
    """One completion to sample.

    `trace` None: the thinking block is opened and the model writes the trace. A text: the
    block is pre-filled with it (empty: an empty block) and the model writes the answer.
    `until` "trace" ends the generation where the thinking block closes.
    `seed` alone decides the random numbers of this request, whatever it is batched with.
    `prompt` is sent as it is, instead of a turn made of `question` and `trace`: for judges, which
    have formats of their own. All that is generated then comes back as the answer.
    `adapter` is the folder of a LoRA adapter to sample with; None: the model as it is.
    `before` holds the earlier turns of a conversation, each a role and a text.
    """

    key: str
    question: str
    trace: str | None = None
    until: Literal["end", "trace"] = "end"
    seed: int = 0
    prompt: tuple[Piece, ...] | None = None
    adapter: Path | None = None
    before: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Completion:
    """What was sampled for a request. A pre-filled trace is given back as it was.

    `closed` says whether the thinking block ended; if not, `answer` is empty and `trace` holds
    all that was generated. `tokens` counts generated tokens, the end token included;
    `prompt_tokens` those of the prompt, a pre-filled trace included.
    """

    key: str
    trace: str
    answer: str
    closed: bool
    finish: Finish
    tokens: int
    prompt_tokens: int = 0


@dataclass(frozen=True)
class ScoreRequest:
    """A completion to score under the model: the question is context, trace and answer count."""

    key: str
    question: str
    trace: str
    answer: str


@dataclass(frozen=True)
class Score:
    """Natural-log probabilities, one a token.

    Trace tokens run up to and including the tag that closes the thinking block; answer tokens
    up to and including the end of the turn.
    """

    key: str
    trace: Sequence[float]
    answer: Sequence[float]


@dataclass(frozen=True)
class Divergence:
    """KL(other || this model) in nats at each token of a completion."""

    key: str
    trace: Sequence[float]
    answer: Sequence[float]


Requests = Iterable[Request | None]
"""What an engine is asked. None among them: the next one hangs on completions under way, so the
engine takes the next result first; with nothing under way, None is the end."""


class Engine(Protocol):
    """Generates and scores. Results come as they finish, in any order, one per request."""

    @property
    def context_length(self) -> int:
        """Tokens of prompt and completion together, at most."""
        ...

    def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]: ...

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Score]: ...

    def compare(self, other: Path, requests: Iterable[ScoreRequest]) -> Iterator[Divergence]:
        """KL(other || this model) along given completions; `other` is the folder of a model."""
        ...

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        """Whether prompt and generation fit the context."""
        ...

"""Shift of training sets under the base model, before any training.

For a set S and a part p (trace, answer, or both: the completion), with L a row's sum of negative
log-likelihoods over the tokens of the part and T their number:

    NLL(S, p)   = sum of L / sum of T           over the rows of S, nats per token
    shift(S, p) = NLL(S, p) - NLL(own, p)       over the rows that both have, paired

where `own` are the target's own samples on the same bare prompts (arXiv 2602.02136). Embedding
shift is 1 - cosine between a row's text and the target's own (the measure of SDFT, arXiv
2402.13669). Closing tags belong to their part: see `dgr.engines.base.Score`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dgr.engines import EngineConfig, load_engine
from dgr.engines.base import Engine, Score, ScoreRequest
from dgr.engines.usage import Metered
from dgr.errors import UserError
from dgr.files import read_records
from dgr.progress import Progress
from dgr.records import (
    Component,
    OwnPurpose,
    OwnSample,
    Record,
    RefinedSample,
    Sample,
    TrainingRow,
)
from dgr.shift.config import EmbeddingConfig, ShiftConfig
from dgr.shift.encoders import distances, load_encoder
from dgr.shift.estimates import Floats, TokenMeans, draw, length_distribution, shared_edges
from dgr.shift.fitting import that_fit
from dgr.shift.sets import (
    PARTS,
    Set,
    Texts,
    members,
    original_texts,
    own_texts,
    refined_texts,
)
from dgr.stats import mean
from dgr.steps import StepFolder, verify
from dgr.thinking import ChatFormat, load_chat

Scores = dict[Set, dict[str, Score]]
Distances = dict[tuple[Set, str, Component], float]


class ShiftRow(Record):
    """One component of one row of one set."""

    id: str
    set: Set
    part: Component
    rewritten: bool
    """Whether refinement replaced this component."""
    nll: float
    """Sum over tokens, nats."""
    tokens: int
    distance: float | None
    """1 - cosine to the target's own text; None when it was not measured."""


def measure_shift(
    config: ShiftConfig,
    *,
    engine: EngineConfig,
    model: Path,
    data: Path,
    refined: Path | None,
    own: Path,
    out: Path,
    seed: int,
) -> None:
    """Measure how far the sets of `data` and `refined` lie from what `model` says itself.

    `data`, `refined` and `own` are outputs of the steps of those names. Writes records.jsonl of
    `ShiftRow` and a summary: for each set NLL, shift, embedding shift and lengths, each for trace
    and answer apart and for NLL together. A figure without rows is null with n = 0.
    """
    inputs = {"model": model, "data": data, "own": own, **({"refined": refined} if refined else {})}
    with StepFolder(out, "shift", config, inputs, seed, engine) as step:
        if step.finished:
            return
        for folder in (data, own, *([refined] if refined else [])):
            verify(folder)
        samples = list(read_records(data / "records.jsonl", Sample))
        _measure(step, config, engine, model, samples, own, refined, seed)


def measure_arm(
    config: ShiftConfig,
    *,
    engine: EngineConfig,
    model: Path,
    arm: Path,
    own: Path,
    out: Path,
    seed: int,
) -> None:
    """The same for an arm's safety rows, as the set `original`."""
    inputs = {"model": model, "arm": arm, "own": own}
    with StepFolder(out, "arm-shift", config, inputs, seed, engine) as step:
        if step.finished:
            return
        for folder in (arm, own):
            verify(folder)
        samples = [
            Sample(id=row.id, question=row.question, trace=row.trace, answer=row.answer)
            for row in read_records(arm / "records.jsonl", TrainingRow)
            if row.role == "safety"
        ]
        _measure(step, config, engine, model, samples, own, None, seed)


def _measure(
    step: StepFolder,
    config: ShiftConfig,
    engine: EngineConfig,
    model: Path,
    samples: list[Sample],
    own: Path,
    refined: Path | None,
    seed: int,
) -> None:
    if not samples:
        raise UserError(f"{step.out}: the data set is empty; there is nothing to measure")
    texts, counts = _texts(config, samples, refined, own, seed)
    chat = load_chat(model, engine.thinking)
    with Metered(load_engine(engine, model)) as metered:
        scores, too_long = _score(metered, chat, texts)
        cost = metered.cost()
    gaps = _distances(config.embedding, texts, seed)
    records = list(_records(texts, scores, gaps))
    summary = {**_summary(config, texts, scores, gaps, seed), **counts, "too_long": too_long}
    step.finish(summary, {"records.jsonl": records}, cost)


def _texts(
    config: ShiftConfig, samples: list[Sample], refined: Path | None, own: Path, seed: int
) -> tuple[dict[Set, Texts], dict[str, int]]:
    """Completions of each set on the drawn prompts, and what was left out."""
    own_rows = list(read_records(own / "records.jsonl", OwnSample))
    drawn = _draw(samples, own_rows, config.max_rows, seed)
    texts = {Set.ORIGINAL: original_texts(drawn)}
    ids = list(texts[Set.ORIGINAL])
    if refined is not None:
        rows = read_records(refined / "records.jsonl", RefinedSample)
        texts[Set.REFINED] = refined_texts(rows, ids)
    texts[Set.OWN], cut = own_texts(own_rows, ids)
    return texts, {"rows": len(samples), "rows_drawn": len(drawn), "own_cut": cut}


def _draw(samples: list[Sample], own: list[OwnSample], most: int | None, seed: int) -> list[Sample]:
    """At most `most` rows; those with a reference sample, which alone can be paired, first."""
    referenced = {row.id for row in own if row.purpose is OwnPurpose.REFERENCE}
    first = draw([row for row in samples if row.id in referenced], most, seed)
    left = None if most is None else most - len(first)
    return first + draw([row for row in samples if row.id not in referenced], left, seed)


def _score(
    engine: Engine, chat: ChatFormat, texts: Mapping[Set, Texts]
) -> tuple[Scores, dict[str, int]]:
    """Token log-probabilities of every text that fits the context; how many of each set do not.

    Nothing is journalled: scoring is one forward pass, and equal batches give equal bytes when
    the step starts again.
    """
    requests, too_long = that_fit(
        chat,
        engine.context_length,
        (
            ScoreRequest(f"{name}/{key}", text.question, text.trace, text.answer)
            for name, rows in texts.items()
            for key, text in rows.items()
        ),
    )
    scores: Scores = {name: {} for name in texts}
    with Progress("score", len(requests), "completions") as progress:
        for score in engine.score(requests):
            name, _, key = score.key.partition("/")
            scores[Set(name)][key] = score
            progress.advance()
    left_out = Counter(request.key.partition("/")[0] for request in too_long)
    return scores, {name.value: left_out[name.value] for name in texts}


def _distances(config: EmbeddingConfig, texts: Mapping[Set, Texts], seed: int) -> Distances:
    """Distance of each external and refined text to the target's own, component by component.

    An empty text has no embedding: its component is left out.
    """
    encoder = load_encoder(config.encoder, config.batch_size)
    if encoder is None:
        return {}
    own = texts[Set.OWN]
    ids = draw([key for key in texts[Set.ORIGINAL] if key in own], config.max_rows, seed)
    pairs = {
        (name, key, part): (rows[key].component(part), own[key].component(part))
        for name, rows in texts.items()
        if name is not Set.OWN
        for key in ids
        if key in rows
        for part in Component
    }
    pairs = {key: pair for key, pair in pairs.items() if all(text.strip() for text in pair)}
    return dict(zip(pairs, distances(encoder, list(pairs.values())), strict=True))


def _records(texts: Mapping[Set, Texts], scores: Scores, gaps: Distances) -> Iterable[ShiftRow]:
    for name, rows in texts.items():
        for key, text in rows.items():
            if key not in scores[name]:
                continue
            for part in Component:
                values = _part(scores[name][key], part)
                yield ShiftRow(
                    id=key,
                    set=name,
                    part=part,
                    rewritten=part in text.rewritten,
                    nll=-float(np.sum(values)),
                    tokens=len(values),
                    distance=gaps.get((name, key, part)),
                )


def _part(score: Score, part: Component) -> Floats:
    return np.asarray(score.trace if part is Component.TRACE else score.answer, dtype=float)


class _Table:
    """Sums and token counts of each set and part, one a prompt."""

    def __init__(self, texts: Mapping[Set, Texts], scores: Scores) -> None:
        self.ids = list(texts[Set.ORIGINAL])
        self._texts, self._scores = texts, scores

    def sets(self) -> list[Set]:
        return [name for name in Set if self._source(name) in self._texts]

    def _source(self, name: Set) -> Set:
        return Set.REFINED if name is Set.ACCEPTED else name

    def columns(self, name: Set, part: str) -> tuple[Floats, Floats]:
        """Sum of NLL and number of tokens, each of shape (prompts,); 0 where a row is absent."""
        source = self._source(name)
        present = set(members(name, self._texts[source], PARTS[part]))
        scored = self._scores[source]
        values = [
            np.concatenate([_part(scored[key], component) for component in PARTS[part]])
            if key in present and key in scored
            else np.zeros(0)
            for key in self.ids
        ]
        sums = np.array([-value.sum() for value in values])
        return sums, np.array([float(len(value)) for value in values])

    def distances(self, name: Set, part: Component, gaps: Distances) -> list[float]:
        source = self._source(name)
        ids = members(name, self._texts[source], (part,))
        return [gaps[source, key, part] for key in ids if (source, key, part) in gaps]


def _summary(
    config: ShiftConfig, texts: Mapping[Set, Texts], scores: Scores, gaps: Distances, seed: int
) -> dict[str, Any]:
    table = _Table(texts, scores)
    means = TokenMeans(len(table.ids), seed)
    columns = {(name, part): table.columns(name, part) for name in table.sets() for part in PARTS}
    lengths = {
        key: [int(count) for count in tokens if count] for key, (_, tokens) in columns.items()
    }
    edges = {
        part: shared_edges([lengths[name, part] for name in table.sets()], config.histogram_bins)
        for part in PARTS
    }
    sets: dict[str, Any] = {}
    for name in table.sets():
        figures: dict[str, Any] = {
            "nll": {part: means.mean(*columns[name, part]) for part in PARTS},
            "length": {
                part: length_distribution(lengths[name, part], edges[part]) for part in PARTS
            },
        }
        if name is not Set.OWN:
            figures["shift"] = {
                part: means.difference(*columns[name, part], *columns[Set.OWN, part])
                for part in PARTS
            }
            figures["embedding_shift"] = {
                part.value: mean(table.distances(name, part, gaps), seed) for part in Component
            }
        sets[name.value] = figures
    return {
        "units": {"nll": "nats per token", "shift": "nats per token", "length": "tokens"},
        "encoder": config.embedding.encoder,
        "sets": sets,
    }

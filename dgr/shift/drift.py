"""Drift of tuned models from their base, after training.

Embedding drift: 1 - cosine between the base's and the tuned model's output on one evaluation item
(SDFT, arXiv 2402.13669). Both outputs are sampled, so two samples of the base itself lie apart as
well: that distance, where the base has two samples an item, is the zero point reported beside it.

KL drift: with p the tuned model's and q the base's distribution of the next token, the mean over
tokens of KL(p || q) = sum of p (log p - log q), in nats, along the base's own traces and answers
on reasoning questions.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgr.engines import EngineConfig, load_engine
from dgr.engines.base import ScoreRequest
from dgr.engines.usage import Metered
from dgr.errors import UserError
from dgr.files import read_records
from dgr.progress import Progress
from dgr.records import Component, EvalRecord, Finish, Record
from dgr.shift.config import EmbeddingConfig, ShiftConfig
from dgr.shift.encoders import distances, load_encoder
from dgr.shift.estimates import Floats, TokenMeans, draw, length_distribution, shared_edges
from dgr.shift.fitting import that_fit
from dgr.shift.sets import PARTS
from dgr.stats import Estimate, mean
from dgr.steps import StepFolder, verify
from dgr.thinking import load_chat

BASE = "base"
"""The name under which the untuned model's evaluation is given."""

Item = tuple[str, str]
"""Suite and id of an evaluation item."""
Samples = dict[Item, list[EvalRecord]]
"""Item -> its samples, in order."""


class DriftRow(Record):
    """One component of one evaluation item of one arm; the base's rows hold its own spread."""

    arm: str
    suite: str
    kind: str
    item: str
    part: Component
    kl: float | None = None
    """Sum over the tokens of the base's text, nats; None when it was not measured."""
    kl_tokens: int | None = None
    distance: float | None = None
    """1 - cosine to the base's text; None when it was not measured."""


def measure_drift(
    config: ShiftConfig,
    *,
    engine: EngineConfig,
    model: Path,
    tuned: Mapping[str, Path],
    evaluations: Mapping[str, Path],
    out: Path,
    seed: int,
) -> None:
    """Measure how far each tuned model moved from the base `model`.

    `tuned` maps an arm to its `sft` folder, `evaluations` an arm, and `base`, to its `evaluate`
    folder. Writes records.jsonl of `DriftRow` and a summary: for each arm KL drift, embedding
    drift by kind of suite, and lengths of the outputs. A figure without rows is null with n = 0.
    """
    inputs = {
        "model": model,
        **{f"tuned/{arm}": folder for arm, folder in tuned.items()},
        **{f"evaluation/{arm}": folder for arm, folder in evaluations.items()},
    }
    _check_arms(tuned, evaluations)
    with StepFolder(out, "drift", config, inputs, seed, engine) as step:
        if step.finished:
            return
        outputs = {arm: _samples(evaluations[arm]) for arm in (BASE, *tuned)}
        gaps = _gaps(config.embedding, outputs, seed)
        models = {arm: _model(folder) for arm, folder in tuned.items()}
        requests = _requests(outputs[BASE], config.kl.max_items, seed)
        divergences, too_long, cost = _divergences(engine, model, models, requests)
        rows = list(_rows(outputs, gaps, divergences))
        summary = {**_summary(config, outputs, rows, seed), "too_long": too_long}
        step.finish(summary, {"records.jsonl": rows}, cost)


def _check_arms(tuned: Mapping[str, Path], evaluations: Mapping[str, Path]) -> None:
    missing = [arm for arm in (BASE, *tuned) if arm not in evaluations]
    if missing:
        raise UserError(
            f"drift needs an evaluation of {', '.join(missing)}; run evaluate and name its folder"
        )


def _model(folder: Path) -> Path:
    """The model that `sft` wrote, checked."""
    verify(folder)
    if not (folder / "model").is_dir():
        raise UserError(f"{folder} holds no model; train with sft.merge: true")
    return folder / "model"


def _samples(folder: Path) -> Samples:
    verify(folder)
    samples: Samples = {}
    for record in read_records(folder / "records.jsonl", EvalRecord):
        samples.setdefault((record.suite, record.item), []).append(record)
    for records in samples.values():
        records.sort(key=lambda record: record.sample)
    return samples


def _text(record: EvalRecord, part: Component) -> str:
    return record.trace if part is Component.TRACE else record.answer


Gaps = dict[tuple[str, Item, Component], float]
"""Arm, item and part -> embedding distance to the base's first sample."""


def _gaps(config: EmbeddingConfig, outputs: Mapping[str, Samples], seed: int) -> Gaps:
    """Distances between first samples; for the base, between its first and second."""
    encoder = load_encoder(config.encoder, config.batch_size)
    if encoder is None:
        return {}
    pairs: dict[tuple[str, Item, Component], tuple[str, str]] = {}
    for item in _drawn_by_kind(outputs[BASE], config.max_rows, seed):
        first, *others = outputs[BASE][item]
        compared = {arm: samples[item][0] for arm, samples in outputs.items() if item in samples}
        compared.pop(BASE)
        if others:
            compared[BASE] = others[0]
        for arm, record in compared.items():
            for part in Component:
                pair = (_text(first, part), _text(record, part))
                if all(text.strip() for text in pair):
                    pairs[arm, item, part] = pair
    return dict(zip(pairs, distances(encoder, list(pairs.values())), strict=True))


def _drawn_by_kind(samples: Samples, most: int | None, seed: int) -> Iterator[Item]:
    """At most `most` items of each kind of suite."""
    for kind in _kinds(samples):
        yield from draw(
            [i for i, records in samples.items() if records[0].kind == kind], most, seed
        )


def _kinds(samples: Samples) -> list[str]:
    return list(dict.fromkeys(records[0].kind for records in samples.values()))


Divergences = dict[tuple[str, str], Mapping[Component, Floats]]
"""Arm and key of an item -> KL a token, by part."""


def _key(item: Item) -> str:
    return "/".join(item)


def _requests(base: Samples, most: int | None, seed: int) -> list[ScoreRequest]:
    """The base's first sample of each reasoning question.

    A sample that was cut at the token limit has no end to score and is left out.
    """
    items = [
        item
        for item, records in base.items()
        if records[0].kind == "reasoning" and records[0].finish is Finish.STOP
    ]
    first = {item: base[item][0] for item in draw(items, most, seed)}
    return [
        ScoreRequest(_key(item), record.question, record.trace, record.answer)
        for item, record in first.items()
    ]


def _divergences(
    config: EngineConfig, model: Path, tuned: Mapping[str, Path], requests: list[ScoreRequest]
) -> tuple[Divergences, int, dict[str, float]]:
    """KL of each tuned model from the base, how many texts do not fit the context, and the cost."""
    if not requests:
        return {}, 0, {}
    result: Divergences = {}
    with Metered(load_engine(config, model)) as engine:
        chat = load_chat(model, config.thinking)
        requests, too_long = that_fit(chat, engine.context_length, requests)
        with Progress("compare", len(tuned) * len(requests), "completions") as progress:
            for arm, folder in tuned.items():
                for found in engine.compare(folder, requests):
                    result[arm, found.key] = {
                        Component.TRACE: np.asarray(found.trace, dtype=float),
                        Component.ANSWER: np.asarray(found.answer, dtype=float),
                    }
                    progress.advance()
        cost = engine.cost()
    return result, len(too_long), cost


def _rows(
    outputs: Mapping[str, Samples], gaps: Gaps, divergences: Divergences
) -> Iterator[DriftRow]:
    for arm, samples in outputs.items():
        for item, records in samples.items():
            for part in Component:
                kl = divergences.get((arm, _key(item)), {}).get(part)
                distance = gaps.get((arm, item, part))
                if kl is None and distance is None:
                    continue
                yield DriftRow(
                    arm=arm,
                    suite=item[0],
                    kind=records[0].kind,
                    item=item[1],
                    part=part,
                    kl=None if kl is None else float(kl.sum()),
                    kl_tokens=None if kl is None else len(kl),
                    distance=distance,
                )


def _summary(
    config: ShiftConfig, outputs: Mapping[str, Samples], rows: Sequence[DriftRow], seed: int
) -> dict[str, Any]:
    kinds = _kinds(outputs[BASE])
    edges = {
        kind: shared_edges(
            [_lengths(samples, kind) for samples in outputs.values()], config.histogram_bins
        )
        for kind in kinds
    }
    arms: dict[str, Any] = {}
    for arm, samples in outputs.items():
        own = [row for row in rows if row.arm == arm]
        arms[arm] = {
            "embedding_drift": {kind: _mean_distances(own, kind, seed) for kind in kinds},
            "length": {
                kind: length_distribution(_lengths(samples, kind), edges[kind]) for kind in kinds
            },
        }
        if arm != BASE:
            arms[arm]["kl"] = _kl(own, seed)
    return {
        "units": {"kl": "nats per token", "length": "tokens a completion"},
        "encoder": config.embedding.encoder,
        "arms": arms,
    }


def _mean_distances(rows: Iterable[DriftRow], kind: str, seed: int) -> dict[str, Estimate]:
    rows = [row for row in rows if row.kind == kind and row.distance is not None]
    return {
        part.value: mean([row.distance or 0.0 for row in rows if row.part is part], seed)
        for part in Component
    }


def _lengths(samples: Samples, kind: str) -> list[int]:
    return [
        record.tokens for records in samples.values() for record in records if record.kind == kind
    ]


def _kl(rows: Iterable[DriftRow], seed: int) -> dict[str, Estimate]:
    """Mean over tokens, items resampled."""
    sums: dict[Item, dict[Component, tuple[float, int]]] = {}
    for row in rows:
        if row.kl is not None and row.kl_tokens is not None:
            sums.setdefault((row.suite, row.item), {})[row.part] = (row.kl, row.kl_tokens)
    means = TokenMeans(max(len(sums), 1), seed)
    figures = {}
    for part, components in PARTS.items():
        columns = np.array(
            [np.sum([found[c] for c in components], axis=0) for found in sums.values()]
        ).reshape(-1, 2)
        figures[part] = means.mean(columns[:, 0], columns[:, 1])
    return figures

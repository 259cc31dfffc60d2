"""What sets two versions of a model apart."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dgr.metrics import METRICS, describe
from dgr.registry.bundle import LINEAGE, bundle_key
from dgr.registry.registry import Registry


@dataclass(frozen=True)
class Difference:
    """One thing that two versions differ in."""

    what: str
    before: str
    after: str


def diff(registry: Registry, before: str, after: str) -> list[Difference]:
    """Figures of the candidates, the gate's policy, training, and the bundles' files."""
    history = registry.history()
    bundles, lineages = [], []
    for name in (before, after):
        _, version = registry.version(history, name)
        bundles.append(registry.bundle(version, deep=False))
        key = bundle_key(registry.name, version.bundle)
        lineages.append(json.loads(registry.store.read_text(f"{key}/{LINEAGE}")))
    old, new = (bundle.decision for bundle in bundles)
    return [
        *_figures(old, new),
        *_leaves("policy", old["policy"], new["policy"]),
        *(
            found
            for part in ("config", "inputs", "code", "seed")
            for found in _leaves(f"training.{part}", lineages[0][part], lineages[1][part])
        ),
        *_leaves("file ", bundles[0].manifest.files, bundles[1].manifest.files),
    ]


def _figures(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    figures = [decision["arms"][decision["candidate"]]["metrics"] for decision in (old, new)]
    for name in METRICS:
        shown = [_show(name, found.get(name)) for found in figures]
        if shown[0] != shown[1]:
            yield Difference(describe(name).label, *shown)


def _show(name: str, figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    show = describe(name).show
    return f"{show(figure['value'])} [{show(figure['low'])}, {show(figure['high'])}]"


def _leaves(where: str, old: Any, new: Any) -> Iterator[Difference]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            inner = f"{where}{key}" if where.endswith(" ") else f"{where}.{key}"
            yield from _leaves(inner, old.get(key), new.get(key))
    else:
        yield Difference(where, _text(old), _text(new))


def _text(value: Any) -> str:
    return "-" if value is None else str(value)

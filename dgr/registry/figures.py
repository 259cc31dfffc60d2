"""A step's config and summary as MLflow's flat parameters and metrics."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

ESTIMATE = {"value", "low", "high", "n"}
MOST_NAME = 250
MOST_VALUE = 500


def metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """Numbers by dotted name; an estimate becomes `name`, `name.low`, `name.high`, `name.n`.

    What is unknown (null or NaN) is left out.
    """
    return {
        _name(name): float(value)
        for name, value in _flat(summary)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """Every leaf of a config by dotted name, as text."""
    return {_name(name): str(value)[:MOST_VALUE] for name, value in _flat(config, lists=True)}


def _flat(value: Any, prefix: str = "", lists: bool = False) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and set(value) == ESTIMATE:
        yield prefix, value["value"]
        yield from ((f"{prefix}.{bound}", value[bound]) for bound in ("low", "high", "n"))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key), lists)
    elif isinstance(value, list) and lists:
        for place, item in enumerate(value):
            yield from _flat(item, f"{prefix}.{place}", lists)
    elif not isinstance(value, list):
        yield prefix, value


def _name(key: str) -> str:
    """MLflow takes letters, digits and a few signs."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in key)[:MOST_NAME]

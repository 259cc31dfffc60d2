"""The data sets that a run read from outside, as MLflow keeps them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgr.files import canonical_json, read_json
from dgr.published import GITHUB, HUB
from dgr.steps import MANIFEST, SUMMARY

MOST_DIGEST = 36
"""MLflow keeps that many characters of a digest; the profile and a tag hold the whole."""


@dataclass(frozen=True)
class DataSet:
    """A file of rows and what it was used for."""

    name: str
    digest: str
    """SHA-256 of the file."""
    source: str
    """A path, an s3:// address, `hub:org/name` or `github:org/name`."""
    context: str
    """`training`, `mix` (prompts that the target answered itself) or `evaluation`."""
    rows: int | None = None
    licence: str = ""
    revision: str | None = None
    kind: str | None = None
    """What an evaluation suite measures: the figures `<kind>_...` come from it."""

    @property
    def short_digest(self) -> str:
        """As MLflow keeps it, with a data set and with a figure measured on it."""
        return self.digest[:MOST_DIGEST]


def datasets(folder: Path) -> list[DataSet]:
    """The data sets that a finished step read from outside the run; none for other steps."""
    manifest = read_json(folder / MANIFEST)
    read = {"ingest": _external, "evaluate": _suites, "own": _mixes}.get(manifest["step"])
    return list(read(manifest, read_json(folder / SUMMARY))) if read else []


def _external(manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[DataSet]:
    config = manifest["config"]
    source = config["source"]
    yield DataSet(
        name=source.removeprefix(HUB) if source.startswith(HUB) else Path(source).stem,
        digest=manifest["inputs"]["data"],
        source=source,
        context="training",
        rows=summary["rows"],
        licence=config["licence"],
        revision=config["revision"],
    )


def _suites(manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[DataSet]:
    for suite in manifest["config"]["suites"]:
        name = suite["name"]
        yield DataSet(
            name=name,
            digest=manifest["inputs"][f"suite/{name}"],
            source=suite["path"],
            context="evaluation",
            rows=summary["suites"][name]["items"],
            licence=suite.get("licence", ""),
            revision=suite.get("revision"),
            kind=suite["kind"],
        )


def _mixes(manifest: Mapping[str, Any], summary: Mapping[str, Any]) -> Iterator[DataSet]:
    for place, mix in enumerate(manifest["config"]["mix"]):
        path = mix["path"]
        digest = manifest["inputs"][f"mix/{place}"]
        yield DataSet(name=Path(path).stem, digest=digest, source=path, context="mix")


def dataset_input(found: DataSet) -> Any:
    """MLflow's own record of it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kind, source = _source(found)
    profile = {"num_rows": found.rows, "licence": found.licence, "sha256": found.digest}
    dataset = Dataset(
        name=found.name,
        digest=found.short_digest,
        source_type=kind,
        source=json.dumps(source),
        profile=canonical_json({key: value for key, value in profile.items() if value}),
    )
    tags = {
        "mlflow.data.context": found.context,
        "dgr.digest": found.digest,
        "dgr.licence": found.licence,
    }
    return DatasetInput(dataset, [InputTag(key, value) for key, value in tags.items() if value])


def _source(found: DataSet) -> tuple[str, dict[str, Any]]:
    """In the words of MLflow's own kinds of source, which `mlflow.data.get_source` reads."""
    if found.source.startswith(HUB):
        return "hugging_face", {"path": found.source.removeprefix(HUB), "revision": found.revision}
    if found.source.startswith(GITHUB):
        place = f"{found.source.removeprefix(GITHUB)}/tree/{found.revision}"
        return "http", {"url": f"https://github.com/{place}"}
    return ("s3" if found.source.startswith("s3://") else "local"), {"uri": found.source}

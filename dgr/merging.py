"""Shards of one step put together again: the very folder that one process would have left.

union = Union(parts, "refine")              # checks every file, and that the parts fit
with StepFolder.of(out, union.identity) as step: ...
    step.finish(summary, {"records.jsonl": union.lines()}, union.cost())
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, groupby, zip_longest
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from dgr.errors import UserError
from dgr.files import count_records, read_json, read_records
from dgr.shards import Shard, places
from dgr.steps import SHARD, SHARDS, TIMING, code_digest, summary_of, verify

SUMMED = (
    "seconds",
    "engine_seconds",
    "device_seconds",
    "prompt_tokens",
    "generated_tokens",
    "scored_tokens",
)
GREATEST = ("peak_rss_mib", "peak_device_mib")
LEAST = ("started",)

RowT = TypeVar("RowT", bound=BaseModel)


class Union:
    """The finished shards of one step, each there once, of equal inputs, config, code and seed."""

    def __init__(self, parts: Sequence[Path], step: str) -> None:
        manifests = {part: verify(part) for part in parts}
        found: dict[int, Path] = {}
        counts = set()
        for part, manifest in manifests.items():
            shard = Shard.parse(manifest.get(SHARD, ""))
            if shard is None or manifest["step"] != step:
                raise UserError(f"{part} holds no shard of {step}; name what --shard made")
            if shard.index in found:
                raise UserError(f"{part} and {found[shard.index]} are both shard {shard}")
            found[shard.index] = part
            counts.add(shard.count)
        self.parts = [found[index] for index in sorted(found)]
        self._check_complete(counts, set(found))
        self.identity = _common_identity(manifests)

    @staticmethod
    def _check_complete(counts: set[int], found: set[int]) -> None:
        if len(counts) != 1:
            named = " and ".join(map(str, sorted(counts)))
            raise UserError(f"these are shards of {named}; merge those of one number")
        (count,) = counts
        missing = [f"{index}/{count}" for index in range(1, count + 1) if index not in found]
        if missing:
            raise UserError(f"shard {', '.join(missing)} is missing; run it, and merge all again")

    def lines(self) -> Iterator[bytes]:
        """The lines of all records in the order of the whole, of which a shard has every n-th."""
        files = [part / "records.jsonl" for part in self.parts]
        found = [count_records(file) for file in files]
        for index, (part, rows) in enumerate(zip(self.parts, found, strict=True), start=1):
            due = len(range(sum(found))[places(Shard(index, len(found)))])
            if rows != due:
                raise UserError(
                    f"{part} does not fit the other shards: it has {rows:,} rows where {due:,} "
                    "are due; run all again"
                )
        with ExitStack() as stack:
            turns = zip_longest(*(stack.enter_context(file.open("rb")) for file in files))
            yield from filter(None, chain.from_iterable(turns))

    def rows(self, kind: type[RowT], unit: Callable[[RowT], Hashable]) -> Iterator[RowT]:
        """All records in the order of the whole, of which a shard has every n-th unit: the records
        of one `unit`, which stand together."""
        streams = [
            groupby(read_records(part / "records.jsonl", kind), key=unit) for part in self.parts
        ]
        seen: set[Hashable] = set()
        ended: Path | None = None
        while True:
            for part, stream in zip(self.parts, streams, strict=True):
                name, rows = next(stream, (None, None))
                if rows is None:
                    ended = ended or part
                    continue
                if ended or name in seen:
                    why = f"{name} is there twice" if name in seen else f"{ended} has too few rows"
                    raise UserError(f"{part} does not fit the other shards: {why}; run all again")
                seen.add(name)
                yield from rows
            if ended:
                return

    def summaries(self) -> list[dict[str, Any]]:
        """Those of the parts, in their order."""
        return [summary_of(part) for part in self.parts]

    def cost(self) -> dict[str, float]:
        """What the parts took together, and how many they were."""
        timings = [read_json(part / TIMING) for part in self.parts if (part / TIMING).is_file()]
        total: dict[str, float] = {SHARDS: len(self.parts)}
        for names, add in ((SUMMED, sum), (GREATEST, max), (LEAST, min)):
            for name in names:
                values = [timing[name] for timing in timings if name in timing]
                if values:
                    total[name] = round(add(values), 3)
        return total


def _common_identity(manifests: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    identities = {
        part: {key: value for key, value in manifest.items() if key not in ("files", SHARD)}
        for part, manifest in manifests.items()
    }
    (first, identity), *others = identities.items()
    for part, other in others:
        for key, value in identity.items():
            if other.get(key) != value:
                raise UserError(
                    f"{first} and {part} differ in their {key}; merge parts of one step"
                )
    if identity["code"] != code_digest():
        raise UserError(
            f"{first} was made by other code than this; merge with the dgr that made it"
        )
    return identity

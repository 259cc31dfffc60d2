"""Where a suite's questions come from: a file of our own, or a published one and its columns."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from dgr.errors import UserError
from dgr.published import is_published
from dgr.settings import Settings, load_mapping
from dgr.tables import SUFFIXES, is_table, one_of

SUITES = Path("configs/suites")
"""Where `use: NAME` finds NAME.yaml."""
_COMMIT = r"^[0-9a-f]{40}$"
_OF_ITS_DATA = ("file", "revision", "sha256", "rows")
"""What a suite file says of the very file at its `path`."""


class Choices(Settings):
    """The options of a multiple-choice question, lettered from A."""

    column: str | None = None
    """The column that holds the list of options, in the order in which they are shown."""
    right: str | None = None
    """Instead of `column`: the column of the right option, ..."""
    wrong: tuple[str, ...] = ()
    """... and those of the wrong ones. The order shown is drawn from the question's text: the
    same in every run."""

    @model_validator(mode="after")
    def _one_way(self) -> "Choices":
        if (self.column is None) == (self.right is None or not self.wrong):
            raise ValueError("choices need either `column`, or `right` and `wrong`")
        return self


class Fields(Settings):
    """Which columns of a published file a question is made of."""

    question: str
    """The question."""
    id: str | None = None
    """Its name; None: the number of its row."""
    answer: str | None = None
    """The gold answer; of a multiple choice with `column`, its letter."""
    answer_after: str | None = None
    """The gold answer is what follows the last such mark in its column, as GSM8K's `####`."""
    family: str | None = None
    """Reasoning family or harm category."""
    level: str | None = None
    """Difficulty, a whole number."""
    choices: Choices | None = None
    """The options; the prompt then holds {choices}."""


def _or_use(schema: dict[str, Any]) -> None:
    """A suite in a config file is whole, or names a suite file and what is different."""
    schema["properties"]["use"] = {
        "type": "string",
        "description": "A suite file: its name in configs/suites, or its path. Every other key "
        "replaces the file's.",
    }
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["use"]}]


class Questions(Settings):
    """The part of a suite that says what is asked."""

    model_config = ConfigDict(json_schema_extra=_or_use)

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")
    """Name of the suite: lower-case letters, digits, dashes, underscores."""
    version: int = Field(default=1, ge=1)
    """Goes up with every change that moves a suite's figures."""
    title: str = ""
    """What it is, for people."""
    path: str
    """A file, local or s3://bucket/key, or a published set: `hub:owner/name`, `github:owner/name`.
    Without `fields` it is JSONL of `id`, `question`, and `family`, `level`, `answer` where they
    apply; `answer` is the gold answer of a reasoning question, `family` a family or harm category.
    """
    file: str | None = None
    """The file inside a published set."""
    revision: str | None = Field(default=None, pattern=_COMMIT)
    """The commit of a published set, 40 digits: a branch moves, and with it the figures."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Digest of the file; another file is refused."""
    licence: str = ""
    """Licence of the questions."""
    fields: Fields | None = None
    """Columns of a .csv, .tsv, .json, .jsonl or .parquet file (the text ones also as .gz)."""
    where: dict[str, str | int | bool] = Field(default_factory=dict)
    """Only rows whose columns hold these values."""
    unique: bool = False
    """Ask a question once that several rows hold."""
    rows: int | None = Field(default=None, ge=1)
    """Questions that there must be before `limit`; another number is refused."""
    prompt: str = "{question}"
    """What the model is asked: {question}, and {choices} where there are any."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many questions, spread evenly over the families, the same ones in every run."""

    @model_validator(mode="before")
    @classmethod
    def _used(cls, value: Any) -> Any:
        return expand(value) if isinstance(value, Mapping) and "use" in value else value

    @field_validator("prompt")
    @classmethod
    def _question_place(cls, template: str) -> str:
        if "{question}" not in template:
            raise ValueError("the prompt lacks {question}")
        return template

    @model_validator(mode="after")
    def _is_found_again(self) -> Self:
        where = f"suite '{self.name}'"
        if not is_published(self.path):
            return self._is_named_by_its_path(where)
        if self.file is None:
            raise ValueError(f"{where}: name the `file` of {self.path}")
        if Path(self.file).is_absolute() or ".." in Path(self.file).parts:
            raise ValueError(f"{where}: {self.file} is no file inside {self.path}")
        if self.revision is None:
            raise ValueError(
                f"{where}: set `revision` to the commit of {self.path} that you mean (40 digits): "
                "a branch moves, and the figures with it"
            )
        return self._can_be_read(self.file, where)

    def _is_named_by_its_path(self, where: str) -> Self:
        if self.file is not None or self.revision is not None:
            raise ValueError(f"{where}: `file` and `revision` are for hub: and github: paths")
        return self._can_be_read(self.path, where) if self.fields else self

    def _can_be_read(self, file: str, where: str) -> Self:
        if self.fields is None:
            raise ValueError(f"{where}: name the columns of {file} as `fields`")
        if not is_table(file):
            raise ValueError(f"{where}: {file} is not a {one_of(SUFFIXES)} file")
        if (self.fields.choices is None) == ("{choices}" in self.prompt):
            raise ValueError(f"{where}: {{choices}} in the prompt and `fields.choices` go together")
        return self


def expand(value: Mapping[str, Any]) -> dict[str, Any]:
    """A suite file with the keys of `value` in place of its own.

    `sampling` is merged key by key, and judges take the place of a judge. Another `path` is other
    data: what the file says of its own (revision, digest, number of questions) no longer holds.
    """
    changes = dict(value)
    found = load_mapping(suite_file(str(changes.pop("use"))))
    gone = {*_OF_ITS_DATA} if "path" in changes else set()
    gone |= {"judge", "judges"} if changes.keys() & {"judge", "judges"} else set()
    found = {key: kept for key, kept in found.items() if key not in gone}
    if isinstance(changes.get("sampling"), Mapping):
        changes["sampling"] = {**found.get("sampling", {}), **changes["sampling"]}
    return found | changes


def suite_file(name: str) -> Path:
    """The file that `use` names: a path, or a name in configs/suites."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    named = SUITES / f"{name}.yaml"
    if not named.is_file():
        known = ", ".join(sorted(path.stem for path in SUITES.glob("*.yaml"))) or "none"
        raise UserError(
            f"use: {name}: there is no {named}; name a suite of {SUITES} ({known}) "
            "or the path of a YAML file"
        )
    return named

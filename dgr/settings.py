"""Base of every config model: unknown keys refused, a mistake told in one sentence."""

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from dgr.errors import UserError
from dgr.files import first_problem

SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """A config model. Frozen, so that a digest of it stays true."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def identity(self) -> dict[str, Any]:
        """What of it decides results: work that was begun under another identity starts afresh."""
        return self.model_dump(mode="json")


class Toleration(Settings):
    """A taint of nodes that pods may be placed on."""

    key: str | None = None
    """The taint's key; None, with `Exists`: any."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """`Exists`: whatever its value is."""
    value: str | None = None
    """Its value, under `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Its effect; None: every one."""


def parse_settings(kind: type[SettingsT], value: Any, where: str) -> SettingsT:
    """Validate plain data; `UserError` names `where` and the first bad field."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{where}: {first_problem(error)}") from None


def load_settings(kind: type[SettingsT], path: Path) -> SettingsT:
    """Read a YAML (or JSON) file into a config model."""
    return parse_settings(kind, load_mapping(path), str(path))


def load_mapping(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML (or JSON) file."""
    import yaml

    try:
        value = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; name a YAML file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is empty or not a mapping of keys to values")
    return value

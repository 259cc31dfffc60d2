"""The config of notifications."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dgr.notify.events import EventKind
from dgr.settings import Settings


def _is_a_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("write the name of an environment variable, not what it holds")
    return text


VariableName = Annotated[str, AfterValidator(_is_a_name)]


class Target(Settings):
    """One receiver of events. A webhook's URL is a secret, so the config holds a name for it."""

    url_env: VariableName
    """Environment variable that holds the URL (http or https)."""
    format: Literal["json", "slack"] = "json"
    """`json`: the event as it is; `slack`: a message for a Slack-compatible incoming webhook."""
    secret_env: VariableName | None = None
    """Environment variable with the key that signs each delivery; None: not signed."""
    events: tuple[EventKind, ...] = tuple(EventKind)
    """Which events it gets."""
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    """Seconds without an answer after which an attempt has failed."""
    attempts: int = Field(default=4, ge=1, le=10)
    """How often a delivery is tried, with growing pauses between."""


class NotifyConfig(Settings):
    """Who is told of a run's verdict and of what becomes of its model."""

    targets: tuple[Target, ...] = ()
    """The receivers; none: nobody is told."""


NOBODY = NotifyConfig()

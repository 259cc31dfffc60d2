"""The config of notifications."""

from typing import Literal

from pydantic import Field

from dgr.notify.events import EventKind
from dgr.settings import Settings

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Target(Settings):
    """One receiver of events. A webhook's URL is a secret, so the config holds a name for it."""

    url_env: str = Field(pattern=VARIABLE)
    """Environment variable that holds the URL (http or https)."""
    format: Literal["json", "slack"] = "json"
    """`json`: the event as it is; `slack`: a message for a Slack-compatible incoming webhook."""
    secret_env: str | None = Field(default=None, pattern=VARIABLE)
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

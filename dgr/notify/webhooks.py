"""MLflow's own webhooks: its server calls a URL when somebody changes the registry.

They also tell of what was done past dgr: in MLflow's pages, or by another client.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from dgr.errors import UserError

EVENTS = ("model_version.created", "model_version_tag.set", "model_version_alias.created")
"""A version was registered, its state changed, an alias moved."""


def ensure_webhook(
    tracker: Any,
    name: str,
    *,
    url_env: str,
    secret_env: str | None = None,
    events: Sequence[str] = EVENTS,
) -> str:
    """Make an MLflow server call the URL in `url_env` on these events; the webhook's id.

    `tracker` is an MLflow client of a server with a SQL store. The webhook is known by its name:
    doing it again changes the one that is there. `secret_env` names the key by which MLflow signs
    its calls. Raises `UserError`, in which neither URL nor key is told.
    """
    from mlflow.exceptions import MlflowException

    wanted = {
        "url": _variable(url_env),
        "secret": _variable(secret_env) if secret_env else None,
        "events": list(events),
    }
    try:
        for found in _webhooks(tracker):
            if found.name == name:
                tracker.update_webhook(found.webhook_id, **wanted)
                return str(found.webhook_id)
        return str(tracker.create_webhook(name, **wanted).webhook_id)
    except MlflowException as error:  # its text repeats the URL
        raise UserError(
            f"MLflow did not take the webhook {name!r} ({error.error_code}); it needs a server "
            f"with a SQL store, known events, and in {url_env} an https URL of a public address"
        ) from None


def _webhooks(tracker: Any) -> Iterator[Any]:
    page = tracker.list_webhooks()
    yield from page
    while page.token:
        page = tracker.list_webhooks(page_token=page.token)
        yield from page


def _variable(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise UserError(f"the environment variable {name} is not set")
    return value

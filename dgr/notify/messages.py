"""An event as the body of a request."""

import json
from collections.abc import Callable

from dgr.notify.events import Event

SLACK_FIELDS = 10
"""As many fields as Slack takes in a section."""
_TITLE, _SENTENCE, _NAME, _VALUE = 300, 2_600, 300, 1_600
"""Characters of each piece; Slack refuses a text beyond 3,000 and a field beyond 2,000."""


def as_json(event: Event) -> bytes:
    return event.model_dump_json().encode()


def as_slack(event: Event) -> bytes:
    """A message with the event's sentence and its facts.

    Every piece of text may come from outside (a run's name, a reason, an approver's comment), so
    all of it is escaped, and `verbatim` keeps Slack from making links of what looks like one.
    """
    subject = " ".join(
        part
        for part in (event.model or event.run, event.version and f"version {event.version}")
        if part
    )
    title = f"{event.kind.value}: {subject}" if subject else event.kind.value
    facts = {"run": event.run, "digest": event.digest, "by": event.actor, "time": event.time}
    found = {name: value for name, value in {**facts, **event.details}.items() if value != ""}
    fields = [
        _markdown(f"*{_escape(name, _NAME)}*\n{_escape(_text(value), _VALUE)}")
        for name, value in list(found.items())[:SLACK_FIELDS]
    ]
    head, sentence = _escape(title, _TITLE), _escape(event.text, _SENTENCE)
    message = {
        "text": f"{head}: {sentence}",
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [
            {"type": "section", "text": _markdown(f"*{head}*\n{sentence}")},
            {"type": "section", "fields": fields},
        ],
    }
    return json.dumps(message, ensure_ascii=False).encode()


def _markdown(text: str) -> dict[str, object]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _escape(text: str, most: int) -> str:
    """Escaped as Slack wants it, and not longer than `most`."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if len(escaped) <= most:
        return escaped
    cut = escaped[: most - 1]
    if cut.rfind("&") > cut.rfind(";"):  # an entity cut in half
        cut = cut[: cut.rfind("&")]
    return cut + "…"


BODIES: dict[str, Callable[[Event], bytes]] = {"json": as_json, "slack": as_slack}
"""Format -> how its body is made."""

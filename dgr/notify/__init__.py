"""Events to people and their tools: a verdict, an approval, a promotion, a failure.

notify(config, Event(kind=EventKind.PROMOTED, model="safe", version="3", text="Now champion."))
flush(5)                                                  # before a process is killed

`notify` returns at once: a thread for each target delivers, in order. A process that ends waits
for what is on its way, for at most ten seconds; what was not delivered by then is lost, and one
sentence on standard error says so. No URL and no secret is ever in a message of ours.
"""

from dgr.notify.config import NOBODY, NotifyConfig, Target
from dgr.notify.delivery import flush, notify
from dgr.notify.events import Event, EventKind
from dgr.notify.signatures import verify_signature

__all__ = [
    "NOBODY",
    "Event",
    "EventKind",
    "NotifyConfig",
    "Target",
    "flush",
    "notify",
    "verify_signature",
]

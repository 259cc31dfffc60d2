"""One delivery: a POST, repeated while there is hope.

A webhook's URL lets whoever knows it write to its channel, and the exceptions of HTTP libraries
and the reason phrases of servers may repeat it. So what is said of a failure is in our own words:
a status, or the kind of an error.
"""

import os
import random
import socket
import ssl
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import lru_cache
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from dgr import __version__
from dgr.notify.config import Target
from dgr.notify.events import Event
from dgr.notify.messages import BODIES
from dgr.notify.signatures import sign_body

BACKOFF_SECONDS = 0.5
"""The first pause; each later one is twice as long."""
LONGEST_PAUSE_SECONDS = 30.0
"""Bound of every pause, also of one that the receiver asks for (Retry-After)."""
_TOO_MANY = 429
_JITTER = random.Random()  # not the global generator, which belongs to seeded work


class _NoRedirects(HTTPRedirectHandler):
    """A signed event goes where the config sends it and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


@lru_cache(maxsize=1)
def _opener() -> OpenerDirector:
    """Made on first use: it loads the machine's certificates, and takes its proxies."""
    return build_opener(_NoRedirects)


@dataclass(frozen=True)
class _Outcome:
    """How an attempt ended."""

    problem: str | None
    """None: the receiver took it."""
    again: bool = False
    """Whether another attempt may do better."""
    pause: float | None = None
    """Seconds that the receiver asked for."""


def post(target: Target, event: Event) -> str | None:
    """Deliver an event; None, or in words why it was not delivered."""
    url = os.environ.get(target.url_env, "")
    if not url:
        return f"{target.url_env} is not set; put the URL into it or remove the target"
    if not _is_http(url):
        return f"{target.url_env} does not hold an http(s) URL without user name and password"
    secret = os.environ.get(target.secret_env, "") if target.secret_env else None
    if secret == "":
        return f"{target.secret_env} is not set, and what should be signed is not sent unsigned"
    body = BODIES[target.format](event)
    for attempt in range(1, target.attempts + 1):
        outcome = _attempt(Request(url, body, _headers(event, body, secret)), target.timeout_s)
        if not outcome.again or attempt == target.attempts:
            break
        time.sleep(_pause(attempt, outcome.pause))
    tried = "1 attempt" if attempt == 1 else f"{attempt} attempts"
    return outcome.problem and f"{outcome.problem} ({tried})"


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and (parts.port or True)
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url
    return bool(named and plain and parts.scheme in ("http", "https") and "@" not in parts.netloc)


def _headers(event: Event, body: bytes, secret: str | None) -> dict[str, str]:
    """Signed anew for each attempt, so that a late one is not stale."""
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"dgr/{__version__}",
        "X-DGR-Event": event.kind.value,
        "X-DGR-Delivery": event.id,
        "X-DGR-Timestamp": timestamp,
    }
    if secret:
        headers["X-DGR-Signature"] = sign_body(body, timestamp, secret)
    return headers


def _attempt(request: Request, timeout: float) -> _Outcome:
    try:
        with _opener().open(request, timeout=timeout):
            return _Outcome(problem=None)
    except HTTPError as error:
        with error:
            return _refused(error.code, error.headers)
    except (OSError, HTTPException) as error:
        return _Outcome(_in_words(error, timeout), again=True)


def _refused(status: int, headers: Message) -> _Outcome:
    if 300 <= status < 400:
        return _Outcome(f"HTTP {status}: it redirects, which is not followed")
    again = status == _TOO_MANY or status >= 500
    return _Outcome(f"HTTP {status}", again, _seconds(headers.get("Retry-After", "")))


def _in_words(error: Exception, timeout: float) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {timeout:g} s"
    if isinstance(reason, socket.gaierror):
        return "its host was not found"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return "its certificate is not trusted"
    return f"the connection failed with {type(reason).__name__}"


def _pause(attempt: int, asked: float | None) -> float:
    """Seconds before the next attempt; the jitter keeps many senders from coming back at once."""
    if asked is not None:
        return min(asked, LONGEST_PAUSE_SECONDS)
    pause: float = BACKOFF_SECONDS * 2 ** (attempt - 1)
    return min(pause, LONGEST_PAUSE_SECONDS) * _JITTER.uniform(0.5, 1.0)


def _seconds(retry_after: str) -> float | None:
    """Retry-After, which is a number of seconds or a date; None for what is neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())

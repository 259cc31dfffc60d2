"""JSON to a server and back, repeated while there is hope.

Servers may repeat in their answers what they were sent. So what is said of a failure never holds
the key, and of an answer's text only the start.
"""

import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    TimeoutError,
)

BACKOFF_SECONDS = 0.5
"""Bound of the first pause; each later one is twice as long."""
LONGEST_PAUSE_SECONDS = 60.0
"""Bound of every pause, also of one that the server asks for (Retry-After)."""
CONNECT_SECONDS = 10.0
_AGAIN = frozenset({408, 409, 425, 429})
_KEY_REFUSED = frozenset({401, 403})
_NOT_FOUND = 404
_JITTER = random.Random()  # not the global generator, which belongs to seeded work

ResultT = TypeVar("ResultT")


@dataclass
class Failure(Exception):
    """Why there is no answer, in words."""

    reason: str
    again: bool = False
    """Whether another attempt may do better."""
    crowded: bool = False
    """Whether fewer requests at once may do better."""
    everywhere: bool = False
    """Whether no other request will do better."""
    missing: bool = False
    """Whether the server knows no such path or model."""
    pause: float = 0.0
    """Seconds that the server asked for."""


class Client:
    """Speaks to one server; may be used by many threads at once."""

    def __init__(
        self, url: str, key: str | None, *, attempts: int, timeout_s: float, connections: int
    ) -> None:
        self._url, self._key, self._attempts = url, key, attempts
        self._timeout = urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout_s), read=timeout_s)
        self._pool = _pool(url, connections)

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        read: Callable[[Any], ResultT],
        crowded: Callable[[float], None] = lambda sent: None,
    ) -> ResultT:
        """What `read` makes of the answer's JSON: a POST, or a GET where there is no body.

        `read` raises `Failure` for rubbish. `crowded` is told when an attempt was sent that failed
        for there may be too many. Raises the last `Failure` once no attempt is left or none helps.
        """
        for attempt in range(1, self._attempts + 1):
            sent = time.monotonic()
            try:
                return read(self._once(path, body))
            except Failure as failure:
                if failure.crowded:
                    crowded(sent)
                if not failure.again or attempt == self._attempts:
                    raise
                time.sleep(pause(attempt, failure.pause))
        raise AssertionError  # the last attempt returned or raised

    def _once(self, path: str, body: Any) -> Any:
        headers = {"Content-Type": "application/json"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self._pool.request(
                "GET" if body is None else "POST",
                self._url + path,
                body=data,
                headers=headers,
                timeout=self._timeout,
                redirect=False,
                retries=False,
            )
        except (NewConnectionError, ConnectTimeoutError):
            raise Failure("cannot be reached", again=True, crowded=True) from None
        except TimeoutError:
            raise Failure("gave no answer in time", again=True, crowded=True) from None
        except HTTPError:
            raise Failure("dropped the connection", again=True, crowded=True) from None
        if answer.status == 200:
            return self._read(answer.data)
        raise self._refusal(answer)

    def _read(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError:
            raise Failure("answered with something that is no JSON", again=True) from None

    def _refusal(self, answer: urllib3.BaseHTTPResponse) -> Failure:
        status = answer.status
        if status in _AGAIN or status >= 500:
            return Failure(
                f"answered with status {status}",
                again=True,
                crowded=True,
                pause=_retry_after(answer),
            )
        told = self._said(answer.data)
        missing = status == _NOT_FOUND
        return Failure(
            f"answered with status {status}{told}",
            everywhere=missing or status in _KEY_REFUSED or status < 400,
            missing=missing,
        )

    def _said(self, data: bytes) -> str:
        """The start of the server's own words."""
        text = data.decode(errors="replace")
        with suppress(ValueError, KeyError, TypeError):
            text = str(json.loads(text)["error"]["message"])
        if self._key:
            text = text.replace(self._key, "***")
        text = " ".join(text.split())[:200]
        return f" ({text})" if text else ""


def pause(attempt: int, asked: float) -> float:
    """Seconds until the next attempt: random, so that requests do not come back all at once."""
    bound = min(BACKOFF_SECONDS * 2 ** (attempt - 1), LONGEST_PAUSE_SECONDS)
    return min(asked, LONGEST_PAUSE_SECONDS) + _JITTER.uniform(bound / 2, bound)


def _retry_after(answer: urllib3.BaseHTTPResponse) -> float:
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "0")))
    except ValueError:
        return 0.0


def _pool(url: str, connections: int) -> urllib3.PoolManager:
    """Connections that are kept, through the machine's proxy where it names one."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, maxsize=connections)
    return urllib3.PoolManager(maxsize=connections)

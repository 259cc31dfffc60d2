"""Patience with an MLflow that is away, and what is told when it runs out."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    BAD_REQUEST,
    INVALID_PARAMETER_VALUE,
    PERMISSION_DENIED,
    TEMPORARILY_UNAVAILABLE,
)
from requests import HTTPError, Response

from dgr.errors import UserError
from dgr.registry import tracking
from dgr.registry.tracking import client, embedded_file, patiently

URI = "http://user:secret@mlflow.example.org"


class Clock:
    """Time that passes only while one sleeps."""

    def __init__(self) -> None:
        self.now, self.sleeps = 0.0, 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tracking, "time", clock)
    return clock


def failing(times: int, error: Exception) -> Callable[[], str]:
    errors = [error] * times

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    return work


def http_error(status: int) -> HTTPError:
    response = Response()
    response.status_code = status
    return HTTPError(f"{status} for {URI}/artifacts", response=response)


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("(sqlite3.OperationalError) database is locked", TEMPORARILY_UNAVAILABLE),
        MlflowException("(pg8000.exceptions.InterfaceError) network error", BAD_REQUEST),
        MlflowException("API request failed with exception"),
        http_error(503),
    ],
    ids=["locked", "database", "request", "artifacts"],
)
def test_what_time_mends_is_tried_again(
    error: Exception, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    assert patiently(URI, failing(3, error)) == "done"
    assert clock.sleeps == 3
    assert capsys.readouterr().err.count("trying again") == 3


def test_after_a_minute_one_sentence_tells(clock: Clock) -> None:
    error = MlflowException("database is locked\n  at line 3", TEMPORARILY_UNAVAILABLE)
    with pytest.raises(UserError) as told:
        patiently(URI, failing(1_000, error))
    assert str(told.value) == "MLflow at http://mlflow.example.org: database is locked at line 3"
    assert 40 < clock.now <= 60


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("not allowed", PERMISSION_DENIED),
        MlflowException("no such column", INVALID_PARAMETER_VALUE),
        http_error(403),
    ],
    ids=["denied", "mistake", "artifacts"],
)
def test_what_time_does_not_mend_is_told_at_once(error: Exception, clock: Clock) -> None:
    with pytest.raises(UserError, match=r"^MLflow at http://mlflow\.example\.org: ") as told:
        patiently(URI, failing(1, error))
    assert "secret" not in str(told.value)
    assert clock.sleeps == 0


def test_a_bug_keeps_its_traceback(clock: Clock) -> None:
    with pytest.raises(ZeroDivisionError):
        patiently(URI, failing(1, ZeroDivisionError()))


def test_a_locked_store_is_waited_for(runs: Path) -> None:
    path = embedded_file(runs)
    lock = sqlite3.connect(path, check_same_thread=False)
    lock.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(1.0, lock.rollback)
    release.start()
    found = client(f"sqlite:///{path}").create_experiment("waited")
    release.join()
    assert found == "1"


def test_a_store_that_stays_locked_is_told(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 0)
    path = embedded_file(runs)
    lock = sqlite3.connect(path)
    lock.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match=rf"^MLflow at sqlite:///{path}: .*database is locked"):
        client(f"sqlite:///{path}")
    lock.rollback()

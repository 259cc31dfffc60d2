"""The client against a server that speaks KFP's contract, well and ailing."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dgr.cluster import ClusterConfig
from dgr.errors import UserError
from pipelines import client as module
from pipelines.client import Client, Run, Version, connect
from pipelines.cluster import on_cluster
from pipelines.compile import text_of
from tests.kfp_server import KfpServer, contract, kfp

__all__ = ["contract", "kfp"]

TEXT = text_of(on_cluster(ClusterConfig()))
ARGUMENTS: dict[str, Any] = {
    name: "{}" for name in next(yaml.safe_load_all(TEXT))["root"]["inputDefinitions"]["parameters"]
} | {"arms": ["vanilla", "dgr"], "finish_settings": '{"run": "s3://bucket/runs/nano"}'}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(module, "PATIENCE", 2.0)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)


def upload(client: Client) -> Version:
    return client.version("dgr-align", TEXT, "dgr-align-1")


def start(client: Client, name: str = "nano-1") -> Run:
    return client.start(
        upload(client),
        name,
        ARGUMENTS,
        experiment="dgr",
        pipeline_root="s3://bucket/kfp",
        service_account="steps",
    )


def test_a_run_is_started_with_its_version_and_everything_it_was_told(kfp: KfpServer) -> None:
    run = start(connect())
    [sent] = kfp.runs.values()
    assert (run.id, run.state, run.place) == (sent["run_id"], "PENDING", "s3://bucket/runs/nano")
    assert run.url == f"{kfp.url}/#/runs/details/{run.id}"
    assert sent["runtime_config"] == {"parameters": ARGUMENTS, "pipeline_root": "s3://bucket/kfp"}
    assert sent["service_account"] == "steps"
    [version] = kfp.versions
    assert sent["pipeline_version_reference"]["pipeline_version_id"] == version
    assert kfp.uploads[version] == list(yaml.safe_load_all(TEXT))
    tasks = kfp.uploads[version][0]["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert tasks["refine"]["cachingOptions"] == {"enableCache": True}


def test_equal_content_is_uploaded_once(kfp: KfpServer) -> None:
    first, again = upload(connect()), upload(connect())
    other = connect().version("dgr-align", TEXT, "dgr-align-2")
    assert first == again != other
    assert len(kfp.pipelines) == 1 and len(kfp.versions) == 2


@pytest.mark.parametrize("fault", [500, 503, 429, "reset", "lost"])
@pytest.mark.parametrize(
    "where",
    ["GET /healthz", "POST /pipelines", "POST /pipelines/upload_version", "GET /experiments",
     "POST /experiments", "POST /runs", "GET /pipelines", "GET /runs"],
)  # fmt: skip
def test_whatever_fails_for_a_while_one_run_is_started(
    kfp: KfpServer, where: str, fault: int | str
) -> None:
    kfp.fail(where, fault, times=2)
    run = start(connect())
    assert list(kfp.runs) == [run.id]
    assert len(kfp.pipelines) == len(kfp.versions) == len(kfp.experiments) == 1


def test_what_another_made_meanwhile_is_taken(kfp: KfpServer) -> None:
    client = connect()
    upload(client)
    kfp.fail("GET /pipelines?", 503)  # so that it is looked for again
    kfp.fail("POST /experiments", 409)
    start(client)
    assert len(kfp.experiments) == 1


def test_patience_has_an_end(kfp: KfpServer, capsys: pytest.CaptureFixture[str]) -> None:
    client = connect()
    kfp.fail("GET /runs", 503, times=1000)
    with pytest.raises(UserError, match=rf"KFP at {kfp.url} answered 503: injected$"):
        list(client.runs())
    assert "answered 503: injected; trying again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (400, "answered 400: injected"),
        (401, r"refuses this \(401\); set KFP_EXISTING_TOKEN to a valid token"),
        (403, r"refuses this \(403\)"),
        (404, "answered 404: injected"),
    ],
)
def test_what_time_does_not_mend_is_told_at_once(
    kfp: KfpServer, status: int, sentence: str
) -> None:
    client = connect()
    kfp.fail("GET /runs", status, times=2)
    with pytest.raises(UserError, match=sentence):
        list(client.runs())
    with pytest.raises(UserError, match=sentence):  # the second fault: it was asked once
        list(client.runs())


def test_nobody_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with pytest.raises(UserError) as error:
        connect(f"http://me:password@127.0.0.1:{port}")
    assert "does not answer" in str(error.value) and "cluster.endpoint" in str(error.value)
    assert "password" not in str(error.value) and "\n" not in str(error.value)


def test_a_silent_server_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", (0.2, 0.2))
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        begun = time.monotonic()
        with pytest.raises(UserError, match="does not answer"):
            connect(f"http://127.0.0.1:{server.getsockname()[1]}")
        assert time.monotonic() - begun < 20


def test_the_token_goes_to_the_server_and_nowhere_else(
    kfp: KfpServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    kfp.token = "eyJ-secret"
    with pytest.raises(UserError, match="refuses this"):
        connect()
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "eyJ-wrong")
    with pytest.raises(UserError) as error:
        connect()
    assert "eyJ" not in str(error.value)
    monkeypatch.setenv("KFP_EXISTING_TOKEN", "eyJ-secret")
    start(connect())
    monkeypatch.delenv("KFP_EXISTING_TOKEN")
    (tmp_path / "token").write_text("eyJ-secret")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert len(list(connect().runs())) == 1
    kfp.fail("GET /runs", 503)
    list(connect().runs())
    printed = capsys.readouterr()
    assert "eyJ" not in printed.out + printed.err


def test_a_token_file_that_is_missing_is_told_once(
    kfp: KfpServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"cannot reach KFP .*none"):
        connect()
    assert caplog.records == []


def test_lists_are_read_to_their_last_page_the_newest_first(kfp: KfpServer) -> None:
    client = connect()
    for number in range(7):
        start(client, f"nano-{number}")
    kfp.page_limit = 3
    before = kfp.count("GET /runs?")
    assert [run.name for run in client.runs()] == [f"nano-{n}" for n in range(6, -1, -1)]
    assert kfp.count("GET /runs?") - before == 3
    assert client.run("nano-2").id == client.run(client.run("nano-2").id).id
    assert next(client.runs(experiment="dgr")).name == "nano-6"
    with pytest.raises(UserError, match="has no run other; see `dgr runs list`"):
        client.run("other")
    with pytest.raises(UserError, match=r"answered 404: .* not found"):
        client.run("00000000-0000-0000-0000-000000000000")


def task(state: str) -> list[dict[str, Any]]:
    pods = [{"task_id": "2", "pod_name": "nano-1-refine-abc"}]
    return [
        {"task_id": "1", "display_name": "refine", "state": state, "child_tasks": pods}
        | ({"error": {"code": 1, "message": "out of memory"}} if state == "FAILED" else {})
    ]


def test_a_run_is_followed_through_its_states_to_the_end(kfp: KfpServer) -> None:
    client = connect()
    run = start(client)
    kfp.states = ["PENDING", "RUNNING", "RUNNING", "RUNNING", "FAILED"]
    kfp.tasks = task
    kfp.fail("GET /runs/", 503, times=2)
    seen = list(client.follow(run.id))
    assert [each.state for each in seen] == ["PENDING", "RUNNING", "FAILED"]
    assert seen[-1].tasks[0].error == "out of memory"
    assert seen[-1].tasks[0].pods == ("nano-1-refine-abc",)


def test_a_run_is_cancelled_unless_it_has_ended(kfp: KfpServer) -> None:
    client = connect()
    run = start(client)
    client.cancel(client.run(run.id))
    assert [each.state for each in client.follow(run.id)] == ["CANCELED"]
    with pytest.raises(UserError, match=r"run nano-1 has ended already \(CANCELED\)"):
        client.cancel(client.run(run.id))


def test_several_users_need_a_namespace(kfp: KfpServer) -> None:
    kfp.multi_user = True
    with pytest.raises(UserError, match="serves several users; name your namespace"):
        connect()
    client = connect(namespace="team-a")
    start(client)
    assert [run.name for run in client.runs()] == ["nano-1"]
    owned = [*kfp.pipelines.values(), *kfp.experiments.values()]
    assert [each["namespace"] for each in owned] == ["team-a", "team-a"]
    other = connect(namespace="team-b")
    start(other, "nano-2")
    assert len(kfp.pipelines) == 2


def make_schedule(client: Client) -> Any:
    return client.schedule(upload(client), "nightly", "0 0 3 * * 1", ARGUMENTS, experiment="dgr")


@pytest.mark.parametrize("fault", [None, 500, "reset", "lost"])
def test_a_schedule_is_made_once_and_neither_overlaps_nor_catches_up(
    kfp: KfpServer, fault: int | str | None
) -> None:
    client = connect()
    if fault:
        kfp.fail("POST /recurringruns", fault)
    schedule = make_schedule(client)
    [sent] = kfp.recurring.values()
    assert (schedule.name, schedule.cron, schedule.enabled) == ("nightly", "0 0 3 * * 1", True)
    assert (int(sent["max_concurrency"]), sent["no_catchup"]) == (1, True)
    assert sent["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
    assert sent["runtime_config"]["parameters"] == ARGUMENTS
    with pytest.raises(UserError, match="there is a schedule nightly already"):
        make_schedule(client)
    assert len(kfp.recurring) == 1


def test_a_schedule_is_paused_resumed_and_deleted(kfp: KfpServer) -> None:
    client = connect()
    make_schedule(client)
    client.pause(client.find_schedule("nightly"))
    paused = client.find_schedule("nightly")
    assert not paused.enabled
    client.resume(paused)
    assert client.find_schedule(paused.id).enabled
    client.delete(paused)
    assert list(client.schedules()) == []
    with pytest.raises(UserError, match="has no schedule nightly; see `dgr schedule list`"):
        client.find_schedule("nightly")


@pytest.fixture
def login_page() -> Iterator[str]:
    """A proxy that answers everything with a page to log in."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Log in</html>")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *arguments: object) -> None:
            """Not on the tests' output."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_login_page_is_no_kfp(login_page: str) -> None:
    with pytest.raises(UserError, match="not as KFP does; is it a login page"):
        connect(login_page)

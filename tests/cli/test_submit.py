"""`dgr submit`, `dgr runs` and `dgr schedule` on a server that speaks KFP's contract."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dgr.storage import open_store
from dgr.storage import s3 as s3_store
from pipelines import client
from tests.cli.conftest import ROOT, Command, Done
from tests.kfp_server import KfpServer
from tests.study.cells import study_file

NANO = ROOT / "configs" / "nano.yaml"
GRID = {
    "arms": ["vanilla"],
    "axes": {"set": ["r1-act"], "method": ["full"], "budget": ["full 1e-3"]},
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, s3: str) -> None:
    """Without long pauses, and with empty places of runs."""
    for key in open_store(f"{s3}/runs").list():
        open_store(f"{s3}/runs").delete(key)
    monkeypatch.setattr(s3_store, "SETTLE_SECONDS", 0.0)  # nobody else creates the same object
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(client, "PATIENCE", 1.0)
    monkeypatch.setattr(client, "POLL_SECONDS", 0.0)


def settings(store: str = "s3://bucket/runs") -> list[str]:
    values = ["registry.store=s3://bucket/models", "registry.tracking_uri=http://mlflow:5000"]
    values += [f"cluster.store={store}", "cluster.service_account=steps"]
    return [part for value in values for part in ("--set", value)]


def submit(command: Command, *more: str) -> Done:
    return command("submit", NANO, *settings(), *more)


def told(run: dict[str, Any], step: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run["runtime_config"]["parameters"][f"{step}_settings"])
    return found


def one_sentence(done: Done, *parts: str) -> None:
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1 and done.err.startswith("dgr: "), done.err
    for part in parts:
        assert part in done.err


def test_submit_tells_the_run_and_the_run_has_its_place(kfp: KfpServer, command: Command) -> None:
    done = submit(command)
    [run] = kfp.runs.values()
    assert done.code == 0
    assert done.out.splitlines() == [
        f"{run['run_id']}  {run['display_name']}",
        f"{kfp.url}/#/runs/details/{run['run_id']}",
    ]
    assert re.fullmatch(r"nano-[0-9a-f]{8}", run["display_name"])
    assert told(run, "sft")["run"] == "s3://bucket/runs/nano"
    assert run["service_account"] == "steps"
    assert kfp.uploads and kfp.experiments


def test_shards_are_another_pipeline_whose_steps_are_told_the_same(
    kfp: KfpServer, command: Command
) -> None:
    submit(command)
    [first] = kfp.runs.values()
    kfp.states = ["SUCCEEDED"]
    command("runs", "show", first["run_id"])
    again = json.loads(submit(command, "--set", "shards.evaluate=3", "--json").out)
    for step in ("refine", "base", "evaluate"):
        assert told(kfp.runs[again["id"]], step) == told(first, step)
    loops = ["comp-evaluate-arm" in spec["components"] for spec, *_ in kfp.uploads.values()]
    assert sorted(loops) == [False, True]


def test_the_same_run_again_tells_its_steps_the_same(kfp: KfpServer, command: Command) -> None:
    """So that KFP's cache finds them; what is never cached may differ."""
    submit(command)
    [first] = kfp.runs.values()
    kfp.states = ["SUCCEEDED"]
    command("runs", "show", first["run_id"])
    again = json.loads(submit(command, "--json").out)
    second = kfp.runs[again["id"]]
    parameters = [dict(run["runtime_config"]["parameters"]) for run in (first, second)]
    for each in parameters:
        each.pop("finish_settings")
        each.pop("gate_settings")
    assert parameters[0] == parameters[1]
    assert len(kfp.versions) == 1
    kfp.runs[again["id"]]["state"] = "SUCCEEDED"
    fresh = json.loads(submit(command, "--fresh", "--json").out)
    assert told(kfp.runs[fresh["id"]], "sft")["options"] != told(first, "sft")["options"]


def test_two_runs_never_work_in_one_place(kfp: KfpServer, command: Command) -> None:
    submit(command)
    [run] = kfp.runs.values()
    one_sentence(submit(command), run["display_name"], "dgr runs cancel", "choose another name")
    assert len(kfp.runs) == 1
    assert submit(command, "--set", "name=nano-1").code == 0


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--set", "cluster.store=null"], ["needs a store", "cluster.store or --store"]),
        (["--store", "/runs"], ["needs a store"]),
        (["--set", "data.source=/home/me/set.jsonl"], ["data.source: /home/me/set.jsonl"]),
        (["--set", "registry.store=null"], ["registry.store"]),
        (["--set", "cluster.gpu.shm=8GB"], ["cluster.gpu.shm"]),
    ],
)
def test_what_cannot_run_is_not_submitted(
    kfp: KfpServer, command: Command, flags: list[str], parts: list[str]
) -> None:
    one_sentence(submit(command, *flags), *parts)
    assert not kfp.runs and not kfp.pipelines


def leave_decision(s3: str, verdict: str) -> None:
    arm = {"verdict": verdict, "reasons": [], "metrics": {}}
    decision = {"verdict": verdict, "candidate": "dgr", "arms": {"dgr": arm}, "reasons": []}
    open_store(f"{s3}/runs/nano").create_text("decision.json", json.dumps(decision))


def task(state: str) -> list[dict[str, Any]]:
    error = {"error": {"code": 1, "message": "out of memory"}} if state == "FAILED" else {}
    pods = [{"task_id": "2", "pod_name": "nano-refine-abc"}]
    one = {"task_id": "1", "display_name": "refine", "state": state, "child_tasks": pods}
    return [one | error]


@pytest.mark.parametrize(("verdict", "code"), [("passed", 0), ("rejected", 3)])
def test_waiting_ends_with_the_verdict(
    kfp: KfpServer, command: Command, s3: str, verdict: str, code: int
) -> None:
    open_store(f"{s3}/runs/nano").create_text("decision.json", "of an earlier run")

    def ends_with_a_decision(state: str) -> list[dict[str, Any]]:
        if state == "SUCCEEDED":
            leave_decision(s3, verdict)
        return task(state)

    kfp.tasks = ends_with_a_decision
    done = submit(command, "--wait")
    assert done.code == code
    assert f"dgr: {verdict}" in done.out and "report: s3://bucket/runs/nano/report.html" in done.out
    assert "logs: dgr logs s3://bucket/runs/nano --view" in done.out
    states = [line.split()[1] for line in done.err.splitlines() if line.startswith("refine")]
    assert states == ["PENDING", "RUNNING", "SUCCEEDED"]
    [run] = kfp.runs.values()
    watched = command("runs", "watch", run["run_id"], "--json")
    assert (watched.code, json.loads(watched.out)["verdict"]) == (code, verdict)


def test_waiting_for_a_run_that_fails_tells_where_and_why(kfp: KfpServer, command: Command) -> None:
    kfp.states, kfp.tasks = ["RUNNING", "FAILED"], task
    done = submit(command, "--wait")
    [run] = kfp.runs.values()
    last = f"ended as FAILED in refine: out of memory; see `dgr runs logs {run['run_id']}`"
    assert (done.code, done.out) == (1, "") and done.err.endswith(last)


def test_runs_are_listed_shown_and_cancelled(kfp: KfpServer, command: Command) -> None:
    assert command("runs", "list").out == "there are no runs"
    for number in range(3):
        submit(command, "--set", f"name=nano-{number}")
    kfp.page_limit = 1
    kfp.tasks = task
    listed = json.loads(command("runs", "list", "--json", "--limit", "2").out)
    assert [run["name"].rpartition("-")[0] for run in listed] == ["nano-2", "nano-1"]
    assert [run["place"] for run in listed] == [
        "s3://bucket/runs/nano-2",
        "s3://bucket/runs/nano-1",
    ]
    assert len(command("runs", "list", "--experiment", "dgr").out.splitlines()) == 3
    assert command("runs", "list", "--experiment", "other").out == "there are no runs"
    assert len(kfp.experiments) == 1
    shown = command("runs", "show", listed[0]["name"]).out
    assert "state: PENDING" in shown and "place: s3://bucket/runs/nano-2" in shown
    assert "refine" in shown
    which = listed[0]["id"]
    assert command("runs", "cancel", which).out == f"{listed[0]['name']} is being cancelled"
    assert kfp.runs[which]["state"] == "CANCELING"
    watched = command("runs", "watch", which)
    assert watched.code == 1 and "ended as CANCELED" in watched.err
    one_sentence(command("runs", "cancel", which), "has ended already (CANCELED)")
    one_sentence(command("runs", "show", "none"), "has no run none")


def test_logs_say_which_pods_hold_them_and_what_is_needed(kfp: KfpServer, command: Command) -> None:
    kfp.states, kfp.tasks = ["FAILED"], task
    submit(command)
    [run] = kfp.runs
    done = command("runs", "logs", run, "--namespace", "team-a")
    assert "refine" in done.out and "out of memory" in done.out
    assert "kubectl logs -n team-a nano-refine-abc -c main" in done.out
    one_sentence(command("runs", "logs", run, "--task", "sft"), "no task sft; it has: refine")


def test_a_schedule_has_a_place_for_each_of_its_runs(kfp: KfpServer, command: Command) -> None:
    flags = [*settings(), "--cron", "0 3 * * 1", "--name", "weekly"]
    made = json.loads(command("schedule", "create", NANO, *flags, "--json").out)
    [sent] = kfp.recurring.values()
    assert (made["id"], made["cron"]) == (sent["recurring_run_id"], "0 0 3 * * 1")
    assert (int(sent["max_concurrency"]), sent["no_catchup"]) == (1, True)
    places = {told(sent, step)["run"] for step in ("ingest", "sft", "finish")}
    assert places == {"s3://bucket/runs/nano-[[ScheduledTime]]"}
    assert "started" not in told(sent, "finish")["options"]
    one_sentence(command("schedule", "create", NANO, *flags), "there is a schedule weekly already")
    assert "on      0 0 3 * * 1" in command("schedule", "list").out
    assert command("schedule", "pause", "weekly").out == "weekly is paused"
    assert "paused" in command("schedule", "list").out
    assert command("schedule", "resume", "weekly").out == "weekly goes on"
    assert json.loads(command("schedule", "list", "--json").out)[0]["enabled"] is True
    assert command("schedule", "delete", "weekly").out == "weekly is deleted"
    assert command("schedule", "list").out == "there are no schedules"
    one_sentence(command("schedule", "pause", "weekly"), "has no schedule weekly")


def test_a_bad_cron_expression_makes_nothing(kfp: KfpServer, command: Command) -> None:
    flags = [*settings(), "--cron", "0 25 * * *"]
    one_sentence(command("schedule", "create", NANO, *flags), "'25' is no hour")
    assert not kfp.requests


def test_an_ailing_kfp_is_waited_for(kfp: KfpServer, command: Command) -> None:
    kfp.fail("GET /healthz", "reset")
    kfp.fail("POST /runs", 503)
    assert submit(command).code == 0
    assert len(kfp.runs) == 1
    kfp.fail("GET /runs", 500, times=1000)
    done = command("runs", "list")
    assert done.code == 2
    assert done.err.splitlines()[-1] == f"dgr: KFP at {kfp.url} answered 500: injected"


def test_the_endpoint_comes_from_the_config_as_well(
    kfp: KfpServer, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    config = tmp_path / "config.yaml"
    config.write_text(NANO.read_text() + f"cluster: {{endpoint: {kfp.url}}}\n")
    assert command("runs", "list", "--config", config).out == "there are no runs"
    assert command("runs", "list", "--endpoint", kfp.url).out == "there are no runs"


def study(folder: Path, **overrides: str) -> Path:
    found = {
        "own.refusal": True,
        "registry.store": "s3://bucket/models",
        "registry.tracking_uri": "http://mlflow:5000",
        "cluster.store": "s3://bucket/runs",
    }
    return study_file(folder, "tax", [GRID], overrides=found | overrides)


def test_a_study_is_submitted_and_watched_to_its_findings(
    kfp: KfpServer, command: Command, tmp_path: Path
) -> None:
    done = command("study", "tax", study(tmp_path), "--submit")
    [run] = kfp.runs.values()
    assert (done.code, done.out.splitlines()[0]) == (0, f"{run['run_id']}  {run['display_name']}")
    assert re.fullmatch(r"nano-studies-tax-[0-9a-f]{8}", run["display_name"])
    parameters = run["runtime_config"]["parameters"]
    assert [json.loads(cell)["arm"] for cell in parameters["cells"]] == ["base", "vanilla"]
    place = "s3://bucket/runs/nano-studies/tax"
    assert json.loads(parameters["study_settings"])["run"] == place
    steps = json.loads(parameters["cell_settings"])["options"]["steps"]
    assert steps == "s3://bucket/runs/nano-studies/shared"
    one_sentence(command("study", "tax", study(tmp_path), "--submit"), "works in", place)
    kfp.states = ["RUNNING", "SUCCEEDED"]
    open_store(place).create_text("results/summary.json", json.dumps({"findings": "It holds."}))
    done = command("runs", "watch", run["run_id"])
    assert (done.code, done.out) == (0, "It holds.")


def test_a_study_whose_cells_pods_could_not_run_is_told(
    kfp: KfpServer, command: Command, tmp_path: Path
) -> None:
    path = study(tmp_path)
    mine = ROOT / "docs" / "rows.jsonl"
    path.write_text(path.read_text().replace("models/nano-lrm/data/nano-r1-act.jsonl", str(mine)))
    one_sentence(command("study", "tax", path, "--submit"), "data.source", "on this machine alone")
    assert not kfp.runs

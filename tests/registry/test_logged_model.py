"""The candidate as a LoggedModel, in the embedded store and on a server."""

from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric

from dgr.files import read_json
from dgr.registry.datasets import datasets
from dgr.registry.figures import metrics
from dgr.registry.logged_model import MODEL_TAG, log_model
from dgr.registry.tracking import client, embedded_file, patiently
from tests.faults import Faults, Proxy


class Killed(Exception):
    pass


class Case:
    """A run with the figures of its candidate, as recording leaves it."""

    def __init__(self, uri: str, experiment: str, run: Path) -> None:
        self.run = run
        self.tracker = client(uri)
        self.experiment = str(self.tracker.create_experiment(experiment))
        self.run_id = str(self.tracker.create_run(self.experiment).info.run_id)
        self.figures = read_json(run / "gate" / "decision.json")["arms"]["dgr"]["metrics"]
        logged = [Metric(name, value, 7, 0) for name, value in metrics(self.figures).items()]
        self.tracker.log_batch(self.run_id, metrics=logged)
        self.tracker.set_terminated(self.run_id)

    def log(self, bundle: str = "abc") -> str:
        return log_model(
            self.tracker,
            run_id=self.run_id,
            experiment_id=self.experiment,
            name="small.safe",
            source_uri="s3://bucket/models/small.safe/abc",
            parameters={"learning_rate": 1e-5, "layers": list(range(120))},
            figures=self.figures,
            datasets=datasets(self.run / "evaluate" / "dgr"),
            tags={"dgr.bundle": bundle, "dgr.arm": "dgr"},
        )

    def models(self) -> list[Any]:
        return list(self.tracker.search_logged_models([self.experiment]))


@pytest.fixture(params=["embedded", "server"])
def case(request: pytest.FixtureRequest, run: Path, tmp_path: Path) -> Case:
    if request.param == "server":
        uri = request.getfixturevalue("mlflow_server")
    else:
        uri = f"sqlite:///{embedded_file(run.parent)}"
    return Case(uri, tmp_path.name, run)


def test_a_model_carries_every_figure_and_its_data(case: Case) -> None:
    model = case.tracker.get_logged_model(case.log())
    assert model.status == "READY"
    assert model.name == "small_safe"
    assert model.source_run_id == case.run_id
    assert model.tags["dgr.source"] == "s3://bucket/models/small.safe/abc"
    assert model.params["learning_rate"] == "1e-05"
    assert model.params["layers.119"] == "119"
    found = {figure.key: figure for figure in model.metrics}
    assert {key: figure.value for key, figure in found.items()} == metrics(case.figures)
    assert found["harmful_compliance.high"].dataset_name == "harmful-set"
    assert found["harmful_compliance.n"].value == 60
    suites = read_json(case.run / "evaluate" / "dgr" / "manifest.json")["inputs"]
    digest = found["reasoning_accuracy"].dataset_digest
    assert digest == suites["suite/maths"][: len(digest)]
    assert len(digest) >= 32


def test_the_run_shows_the_model_and_keeps_one_point_a_figure(case: Case) -> None:
    model = case.log()
    run = case.tracker.get_run(case.run_id)
    assert [output.model_id for output in run.outputs.model_outputs] == [model]
    assert len(case.tracker.get_metric_history(case.run_id, "harmful_compliance.low")) == 1


def test_logging_again_finds_the_model(case: Case) -> None:
    model = case.log()
    before = case.tracker.get_logged_model(model)
    assert case.log() == model
    assert len(case.models()) == 1
    assert case.tracker.get_logged_model(model).to_dictionary() == before.to_dictionary()
    assert case.log(bundle="another") != model
    assert len(case.models()) == 2


@pytest.mark.parametrize("step", ["log_model_params", "log_batch", "finalize_logged_model"])
def test_a_model_that_a_crash_left_pending_is_completed(
    case: Case, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(case.tracker, step, kill)
        with pytest.raises(Killed):
            case.log()
    [pending] = case.models()
    assert pending.status == "PENDING"
    assert case.log() == pending.model_id
    [model] = case.models()
    assert model.status == "READY"
    assert {figure.key: figure.value for figure in model.metrics} == metrics(case.figures)
    assert len(model.params) == 121


def test_a_creation_that_was_done_twice_leaves_one_model(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = case.tracker.create_logged_model

    def twice(*arguments: Any, **named: Any) -> None:
        create(*arguments, **named)
        create(*arguments, **named)

    monkeypatch.setattr(case.tracker, "create_logged_model", twice)
    model = case.log()
    assert [found.model_id for found in case.models()] == [model]


def test_a_version_names_its_model(case: Case, tmp_path: Path) -> None:
    model = case.log()
    name = f"small.safe-{tmp_path.name}"
    case.tracker.create_registered_model(name)
    case.tracker.create_model_version(
        name,
        source="s3://bucket/models/small.safe/abc",
        run_id=case.run_id,
        model_id=model,
        tags={MODEL_TAG: model},
    )
    [version] = case.tracker.search_model_versions(f"tags.`{MODEL_TAG}` = '{model}'")
    assert (version.name, str(version.version)) == (name, "1")


def test_an_ailing_server_gets_one_whole_model(
    mlflow_server: str, run: Path, tmp_path: Path
) -> None:
    case = Case(mlflow_server, tmp_path.name, run)
    healthy = case.tracker
    faults = Faults(errors=0.15, resets=0.15, lost=0.15, seed=3)
    with Proxy(mlflow_server, faults, own_host=True) as proxy:
        case.tracker = client(proxy.url)
        model = patiently(proxy.url, case.log)
    assert {0, 503} <= {request.status for request in proxy.requests}
    case.tracker = healthy
    [found] = case.models()
    assert (found.model_id, found.status) == (model, "READY")
    assert {figure.key: figure.value for figure in found.metrics} == metrics(case.figures)
    outputs = case.tracker.get_run(case.run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [model]

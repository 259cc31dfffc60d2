"""The candidate as MLflow's LoggedModel: its figures, the data behind them, where its weights are.

model_id = patiently(uri, lambda: log_model(
    tracker, run_id=run_id, experiment_id=experiment, name="small-safe", source_uri=source,
    parameters=config, figures=decision["arms"][arm]["metrics"],
    datasets=datasets(run / "evaluate" / arm), tags={BUNDLE_TAG: digest},
))
tracker.create_model_version(
    name, source=source, run_id=run_id, model_id=model_id, tags={MODEL_TAG: model_id}
)
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dgr.registry.datasets import DataSet, dataset_input
from dgr.registry.figures import metrics
from dgr.registry.figures import parameters as flat_parameters

BUNDLE_TAG = "dgr.bundle"
SOURCE_TAG = "dgr.source"
MODEL_TAG = "dgr.logged_model"
"""On a model version: its LoggedModel. MLflow's SQL registry forgets the `model_id` it is given."""
MODEL_TYPE = "dgr"
_BATCH = 100
_REFUSED = "/:.%\"'"
"""Signs that the name of a LoggedModel may not have, although a registered model's may."""


def log_model(
    tracker: Any,
    *,
    run_id: str,
    experiment_id: str,
    name: str,
    source_uri: str,
    parameters: Mapping[str, Any],
    figures: Mapping[str, Any],
    datasets: Sequence[DataSet],
    tags: Mapping[str, str],
) -> str:
    """The id of the LoggedModel of a bundle, made or completed if need be.

    `figures` are those of the candidate, each with its interval and n; `datasets` what they were
    measured on. The bundle's digest, `tags["dgr.bundle"]`, says which model it is: doing it again,
    or after a crash, changes nothing and makes no second one.
    """
    model = _find(tracker, experiment_id, tags[BUNDLE_TAG])
    if model is None:
        tracker.create_logged_model(
            experiment_id,
            name="".join("_" if sign in _REFUSED else sign for sign in name),
            source_run_id=run_id,
            tags={**tags, SOURCE_TAG: source_uri},
            model_type=MODEL_TYPE,
        )
        model = _find(tracker, experiment_id, tags[BUNDLE_TAG])
    if model.status != "READY":
        _log_parameters(tracker, model, parameters)
        _log_figures(tracker, model, run_id, figures, datasets)
        tracker.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _find(tracker: Any, experiment_id: str, bundle: str) -> Any:
    """The model of a bundle; None if there is none.

    Where the answer to a creation was lost on the way, the client asked twice: the second is
    removed.
    """
    found = tracker.search_logged_models([experiment_id], f"tags.`{BUNDLE_TAG}` = '{bundle}'")
    models = sorted(found, key=lambda model: (model.creation_timestamp, model.model_id))
    for twin in models[1:]:
        tracker.delete_logged_model(twin.model_id)
    return models[0] if models else None


def _log_parameters(tracker: Any, model: Any, config: Mapping[str, Any]) -> None:
    missing = {
        name: value for name, value in flat_parameters(config).items() if name not in model.params
    }
    if missing:
        tracker.log_model_params(model.model_id, missing)


def _log_figures(
    tracker: Any,
    model: Any,
    run_id: str,
    figures: Mapping[str, Any],
    datasets: Sequence[DataSet],
) -> None:
    """The figures with their data sets, all linked to the run as well."""
    from mlflow.entities import LoggedModelOutput, Metric

    run = tracker.get_run(run_id)
    if datasets:
        tracker.log_inputs(run_id, [dataset_input(found) for found in datasets])
    outputs = run.outputs.model_outputs if run.outputs else ()
    if model.model_id not in {output.model_id for output in outputs}:
        tracker.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    flat = metrics(figures)
    # MLflow logs them to the run too, which has them already: at the same time they are the same.
    timestamp = _logged_at(tracker, run_id, flat) or model.creation_timestamp
    found = []
    for name, value in flat.items():
        data = _measured_on(name, datasets)
        found.append(
            Metric(
                name,
                value,
                timestamp,
                0,
                model_id=model.model_id,
                dataset_name=data.name if data else None,
                dataset_digest=data.short_digest if data else None,
            )
        )
    for start in range(0, len(found), _BATCH):
        tracker.log_batch(run_id, metrics=found[start : start + _BATCH])


def _logged_at(tracker: Any, run_id: str, figures: Mapping[str, float]) -> int | None:
    history = tracker.get_metric_history(run_id, next(iter(figures))) if figures else ()
    return int(history[0].timestamp) if history else None


def _measured_on(figure: str, datasets: Sequence[DataSet]) -> DataSet | None:
    """The data set of a figure; None for one that is over several suites, or over none."""
    kind = figure.partition("_")[0]
    found = [data for data in datasets if data.kind == kind]
    return found[0] if len(found) == 1 else None

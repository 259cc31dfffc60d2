"""A pipeline on a cluster: what `ClusterConfig` says, told to every task of it.

    pipeline = align_on(config.cluster, config.shards)  # placed; compile it as any other

The definition is the pipeline's own, traced once more. A local run sees none of this.
"""

import inspect
from functools import partial, wraps
from typing import Any

from kfp import dsl, kubernetes
from kfp.dsl.graph_component import GraphComponent
from kfp.dsl.pipeline_channel import create_pipeline_channel
from kfp.dsl.pipeline_context import Pipeline

from components.image import RUNNER, TRAIN
from dgr.cluster import ClusterConfig
from dgr.cluster.config import STEPS
from dgr.shards import ShardsConfig
from pipelines.align import align, align_of
from pipelines.shards import Step

USER = 65532
"""User and group of every step: no root, and no account of the node."""
SCRATCH = "/scratch"
"""A step's disk: its home, so that the caches of models and data sets are there."""
RUN_ID_ENV, RUN_ID_LABEL = "KFP_RUN_ID", "metadata.labels['pipeline/runid']"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"


def align_on(
    cluster: ClusterConfig, shards: ShardsConfig, one_engine: bool = False
) -> GraphComponent:
    """The alignment run in so many shards, the pipelines within it placed as well."""
    return on_cluster(cluster, align_of(shards, one_engine, partial(_nested_on, cluster)))


def _nested_on(cluster: ClusterConfig, pipeline: GraphComponent) -> Step:
    """What a pipeline within a pipeline is called as: it hands the secrets' names on."""
    placed = on_cluster(cluster, pipeline)
    names = {
        secret.parameter: create_pipeline_channel(secret.parameter, "STRING")
        for secret in cluster.secrets
    }
    return lambda **inputs: placed(**inputs, **names)


def on_cluster(cluster: ClusterConfig, pipeline: GraphComponent = align) -> GraphComponent:
    """A pipeline with everything that a cluster has to know of each task.

    Every secret's name is a parameter of the pipeline, whose default is the configured name.
    """

    @wraps(pipeline.pipeline_func)
    def placed(*inputs: Any) -> Any:
        own = len(inputs) - len(cluster.secrets)
        outputs = pipeline.pipeline_func(*inputs[:own])
        names = {
            secret.name: name for secret, name in zip(cluster.secrets, inputs[own:], strict=True)
        }
        for task in Pipeline.get_default_pipeline().tasks.values():
            if task.pipeline_spec is None:
                place(task, cluster, names)
            elif not task.component_spec.platform_spec.platforms:
                raise ValueError(f"{task.name} is a pipeline that nobody has placed")
        return outputs

    placed.__signature__ = _with_secrets(cluster, pipeline)  # type: ignore[attr-defined]
    return dsl.pipeline(
        name=pipeline.name,
        description=pipeline.description,
        pipeline_root=cluster.pipeline_root,
        pipeline_config=dsl.PipelineConfig(
            ttl_seconds_after_finished=cluster.ttl_s, active_deadline_seconds=cluster.deadline_s
        ),
    )(placed)


def _with_secrets(cluster: ClusterConfig, pipeline: GraphComponent) -> inspect.Signature:
    signature = inspect.signature(pipeline.pipeline_func)
    parameters = [
        inspect.Parameter(
            secret.parameter,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=secret.name,
            annotation=str,
        )
        for secret in cluster.secrets
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *parameters])


def place(task: dsl.PipelineTask, cluster: ClusterConfig, secrets: dict[str, Any]) -> None:
    """Tell one task everything; `secrets` are the parameters that hold the secrets' names."""
    step = task.component_spec.name
    if step not in STEPS:
        raise ValueError(f"{step} is in no class of steps: add it to dgr.cluster.config")
    _set_image(task, cluster, step)
    _set_resources(task, cluster, step)
    _set_patience(task, cluster, step)
    _set_identity(task, cluster)
    _set_environment(task, cluster)
    _set_secrets(task, cluster, step, secrets)


def _set_image(task: dsl.PipelineTask, cluster: ClusterConfig, step: str) -> None:
    whole = cluster.images.train or TRAIN
    slim = cluster.images.runner or RUNNER
    task.set_container_image(whole if cluster.loads_a_model(step) else slim)
    kubernetes.set_image_pull_policy(task, cluster.images.pull_policy)
    if cluster.images.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(cluster.images.pull_secrets))


def _set_resources(task: dsl.PipelineTask, cluster: ClusterConfig, step: str) -> None:
    wanted = cluster.of(step)
    task.set_cpu_request(wanted.cpu_request).set_cpu_limit(wanted.cpu_limit)
    task.set_memory_request(wanted.memory_request).set_memory_limit(wanted.memory_limit)
    if wanted.accelerator:
        task.set_accelerator_type(wanted.accelerator)
        task.set_accelerator_limit(wanted.accelerators)
    for toleration in wanted.tolerations:
        kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
    for key, value in wanted.node_selector.items():
        kubernetes.add_node_selector(task, key, value)
    if wanted.shm:
        kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=wanted.shm)
    kubernetes.empty_dir_mount(task, "scratch", SCRATCH, size_limit=wanted.scratch)


def _set_patience(task: dsl.PipelineTask, cluster: ClusterConfig, step: str) -> None:
    wanted = cluster.of(step)
    kubernetes.set_timeout(task, wanted.timeout_s)
    task.set_retry(
        wanted.retries,
        backoff_duration=f"{wanted.backoff_s}s",
        backoff_factor=wanted.backoff_factor,
        backoff_max_duration=f"{wanted.backoff_max_s}s",
    )


def _set_identity(task: dsl.PipelineTask, cluster: ClusterConfig) -> None:
    # No escalation, no capability, RuntimeDefault seccomp: KFP's backend sets these on each pod.
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    labels = dict(cluster.labels)
    labels |= {QUEUE_LABEL: cluster.queue} if cluster.queue else {}
    labels |= {PRIORITY_LABEL: cluster.priority} if cluster.priority else {}
    for key, value in labels.items():
        kubernetes.add_pod_label(task, key, value)


def _set_environment(task: dsl.PipelineTask, cluster: ClusterConfig) -> None:
    environment = {"HOME": SCRATCH, "TMPDIR": SCRATCH, "MLFLOW_DISABLE_TELEMETRY": "true"}
    for name, value in (environment | cluster.env).items():
        task.set_env_variable(name, value)
    kubernetes.use_field_path_as_env(task, RUN_ID_ENV, RUN_ID_LABEL)


def _set_secrets(
    task: dsl.PipelineTask, cluster: ClusterConfig, step: str, names: dict[str, Any]
) -> None:
    for secret in cluster.secrets:
        if secret.steps is not None and step not in secret.steps:
            continue
        name = names[secret.name]
        if secret.env:
            keys = {key: variable for variable, key in secret.env.items()}
            kubernetes.use_secret_as_env(task, name, keys, optional=secret.optional)
        if secret.mount:
            kubernetes.use_secret_as_volume(task, name, secret.mount, optional=secret.optional)

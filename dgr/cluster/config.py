"""The config of a run on a Kubeflow Pipelines cluster: all defaults in one place."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from dgr.settings import Settings, Toleration

GPU_STEPS = frozenset({"refine", "own", "shift", "sft", "evaluate", "drift", "prepare", "cell"})
"""Steps that load a model; they run as `cluster.gpu` says."""
CPU_STEPS = frozenset(
    {"ingest", "champion", "arm", "gate", "record", "register", "finish"}
    | {"gather", "conclude", "track"}
)
"""All others; they run as `cluster.cpu` says."""
STEPS = GPU_STEPS | CPU_STEPS

_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTPE]|[KMGTPE]i)?")
_DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")
_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY", re.I)
_URL_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")


def _quantity(text: str) -> str:
    if not _QUANTITY.fullmatch(text):
        raise ValueError(f"'{text}' is no Kubernetes quantity: write 500m, 4, 512Mi or 16Gi")
    return text


def _is_no_secret(name: str) -> bool:
    return not _SECRET_NAME.search(name)


Quantity = Annotated[str, AfterValidator(_quantity)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class ImagesConfig(Settings):
    """The images of the steps, with a tag or a digest."""

    runner: str | None = None
    """Image of the steps that load no model; None: the one that the components name."""
    train: str | None = None
    """Image of the steps that load a model; None: the one that the components name."""
    pinned: bool = False
    """Refuse images that are not named by their digest."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When a node fetches an image."""
    pull_secrets: tuple[ObjectName, ...] = ()
    """Names of Secrets with a registry's credentials."""
    folders: tuple[str, ...] = ("models", "configs")
    """Folders that the images hold below their working directory: a run may name files in them."""

    @model_validator(mode="after")
    def _has_digests(self) -> "ImagesConfig":
        for name in ("runner", "train"):
            if self.pinned and not _DIGEST.fullmatch(getattr(self, name) or ""):
                raise ValueError(f"pinned: {name} has no digest; write <image>@sha256:<64 digits>")
        return self


class StepClass(Settings):
    """How steps of one class run."""

    cpu_request: Quantity = "500m"
    """CPU that a node must have free."""
    cpu_limit: Quantity = "2"
    """CPU that a step gets at most."""
    memory_request: Quantity = "1Gi"
    """Memory that a node must have free."""
    memory_limit: Quantity = "4Gi"
    """Memory above which a step is killed."""
    accelerator: str | None = None
    """Resource name of the accelerator, such as nvidia.com/gpu; None: no accelerator."""
    accelerators: int = Field(default=1, ge=1, le=16)
    """How many of them a step gets."""
    shm: Quantity | None = None
    """Size of /dev/shm, in memory; None: the container runtime's 64 MiB."""
    scratch: Quantity = "50Gi"
    """Limit of the disk for caches and temporary files; registering takes a copy of the model."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that are accepted."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must have."""
    timeout_s: int = Field(default=3_600, ge=60)
    """Seconds after which an attempt is ended."""
    retries: int = Field(default=2, ge=0, le=10)
    """How often a failed step is tried again, each time from its beginning."""
    backoff_s: int = Field(default=30, ge=0)
    """Seconds before the first retry."""
    backoff_factor: float = Field(default=2.0, ge=1, le=10)
    """By how much each further pause is longer."""
    backoff_max_s: int = Field(default=600, ge=1)
    """Longest pause, in seconds."""


GPU = StepClass(
    cpu_request="4",
    cpu_limit="8",
    memory_request="32Gi",
    memory_limit="64Gi",
    accelerator="nvidia.com/gpu",
    shm="8Gi",
    scratch="200Gi",
    tolerations=(Toleration(key="nvidia.com/gpu", effect="NoSchedule"),),
    node_selector={"nvidia.com/gpu.present": "true"},
    timeout_s=86_400,
)


class SecretConfig(Settings):
    """A Kubernetes Secret that steps see. The config holds names, never what they stand for."""

    name: ObjectName
    """The Secret's name; a parameter of the pipeline of that name can replace it at a run."""
    env: dict[VariableName, str] = Field(default_factory=dict)
    """Environment variable -> key in the Secret."""
    mount: str | None = Field(default=None, pattern=r"^/.+")
    """A folder in which every key of the Secret is a file; None: no files."""
    steps: tuple[str, ...] | None = None
    """The steps that see it; None: all."""
    optional: bool = False
    """Whether steps run without it where the cluster has none."""

    @field_validator("steps")
    @classmethod
    def _known_steps(cls, steps: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for step in steps or ():
            if step not in STEPS:
                raise ValueError(f"no step '{step}'; choose among {', '.join(sorted(STEPS))}")
        return steps

    @model_validator(mode="after")
    def _is_of_use(self) -> "SecretConfig":
        if not self.env and self.mount is None:
            raise ValueError("name variables in env or a folder in mount")
        return self

    @property
    def parameter(self) -> str:
        """The pipeline's parameter for the Secret's name."""
        return "secret_" + re.sub(r"[^a-z0-9]+", "_", self.name)


class ClusterConfig(Settings):
    """Where and how a run's steps run on a Kubeflow Pipelines cluster; a local run ignores it."""

    endpoint: str | None = None
    """URL of the KFP API; None: KF_PIPELINES_ENDPOINT, else the cluster of the kubeconfig."""
    namespace: str | None = None
    """The user's namespace on a multi-user KFP; None: a single-user one."""
    experiment: str = "dgr"
    """KFP experiment of the runs."""
    store: str | None = Field(default=None, pattern=r"^s3://[^/]+(/.*)?$")
    """s3://bucket/prefix below which each run has its place, named by the run."""
    pipeline_root: str | None = Field(default=None, pattern=r"^s3://[^/]+(/.*)?$")
    """Where KFP keeps artifacts; None: as the cluster's kfp-launcher ConfigMap says."""
    service_account: str | None = None
    """ServiceAccount of the steps; None: KFP's default."""
    images: ImagesConfig = ImagesConfig()
    cpu: StepClass = StepClass()
    gpu: StepClass = GPU
    ttl_s: int = Field(default=604_800, ge=0)
    """Seconds for which a finished workflow and its pods, and so their logs, are kept."""
    deadline_s: int = Field(default=345_600, ge=60)
    """Seconds after which a whole run is ended."""
    queue: str | None = None
    """Kueue's LocalQueue for the steps' pods; None: not queued."""
    priority: str | None = None
    """Kueue's WorkloadPriorityClass; None: the queue's default."""
    labels: dict[str, str] = Field(default_factory=dict)
    """More labels of every pod."""
    env: dict[VariableName, str] = Field(default_factory=dict)
    """Environment variables of every step; no secrets."""
    secrets: tuple[SecretConfig, ...] = ()
    """Secrets that steps see."""

    @field_validator("env")
    @classmethod
    def _holds_no_secret(cls, env: dict[str, str]) -> dict[str, str]:
        for name, value in env.items():
            if not _is_no_secret(name) or _URL_PASSWORD.search(value):
                raise ValueError(f"{name} looks like a secret; put it in a Secret (secrets)")
        return env

    @model_validator(mode="after")
    def _one_parameter_a_secret(self) -> "ClusterConfig":
        names = [secret.parameter for secret in self.secrets]
        if len(set(names)) != len(names):
            raise ValueError("secrets: two entries have one name; write one entry for it")
        if self.priority and not self.queue:
            raise ValueError("priority is Kueue's: name a queue as well")
        return self

    def of(self, step: str) -> StepClass:
        """How a step runs."""
        return self.gpu if step in GPU_STEPS else self.cpu

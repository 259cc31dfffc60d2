"""`python -m dgr.sft.distributed` with what tests need of it.

Weights are sharded by FSDP2 on the CPU, of which torch is capable: accelerate shards only what it
does not take for a CPU, so it is told a name that it shards. Where HELD_AT names a training step,
nothing goes beyond it before a signal came.
"""

import json
import os
import sys
from typing import Any

from dgr.sft import distributed
from tests.sft.held import hold_at

HELD_AT = "HELD_AT"


def shard_on_cpu() -> None:
    from accelerate.state import DistributedType, PartialState

    original = PartialState.__init__

    def init(self: PartialState, *values: Any, **named: Any) -> None:
        original(self, *values, **named)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_HPU

    PartialState.__init__ = init  # type: ignore[method-assign]
    distributed.shards_on_cpu = lambda: True


if __name__ == "__main__":
    if json.loads(sys.argv[1])["sharded"]:
        shard_on_cpu()
    if HELD_AT in os.environ:
        hold_at(int(os.environ[HELD_AT]))
    distributed.main()

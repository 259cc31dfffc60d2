"""`python -m dgr.sft.distributed` with FSDP2 on the CPU, of which torch is capable.

accelerate shards only what it does not take for a CPU, so it is told a name that it shards.
"""

from typing import Any

from accelerate.state import DistributedType, PartialState

from dgr.sft import distributed


def shard_on_cpu() -> None:
    original = PartialState.__init__

    def init(self: PartialState, *values: Any, **named: Any) -> None:
        original(self, *values, **named)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_HPU

    PartialState.__init__ = init  # type: ignore[method-assign]
    distributed.shards_on_cpu = lambda: True


if __name__ == "__main__":
    shard_on_cpu()
    distributed.main()

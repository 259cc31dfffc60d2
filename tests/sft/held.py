"""Training that cannot end before a signal came, however late a busy machine sends it."""

import time
from typing import Any


def hold_at(step: int) -> None:
    """In this process, from now on: no training goes beyond that step without a signal."""
    from dgr.sft.training import _Watch

    original = _Watch.on_step_end

    def on_step_end(self: _Watch, args: Any, state: Any, control: Any, **named: Any) -> None:
        while state.global_step == step and self.request.signum is None:
            time.sleep(0.01)
        original(self, args, state, control, **named)

    _Watch.on_step_end = on_step_end  # type: ignore[method-assign]

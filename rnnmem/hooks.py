"""What training frameworks ask of a callback, answered without importing any of them.

PyTorch Lightning and transformers call a method of every callback at each of dozens of events, by name, and
neither asks for a base class. One event of each is the end of a training step; the others are nothing here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

BESIDES = ("setup", "teardown")  # events of Lightning that do not begin with "on_"


class Hooks(ABC):
    """Makes whatever has `step`, `state_dict` and `load_state_dict` a callback of both.

    Attributes:
        state_key: under which Lightning keeps the state in its checkpoints.
    """

    state_key = "rnnmem.Tracker"
    _legacy_state_key = state_key  # Lightning asks for it whenever it loads a checkpoint

    @abstractmethod
    def step(self) -> bool:
        """Counts one step of training."""

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Lightning: a batch has been trained on."""
        self.step()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """The same in transformers: the optimiser has made a step."""
        self.step()

    if not TYPE_CHECKING:  # a misspelt method shall not pass for an event

        def __getattr__(self, name: str) -> Callable[..., None]:
            if name.startswith("on_") or name in BESIDES:
                return ignore
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def ignore(*args: Any, **kwargs: Any) -> None:
    """Any other event."""

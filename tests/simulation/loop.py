"""An event loop without sockets, threads or wall clock: where nothing is ready, its clock jumps to the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

__all__ = ["BEGINNING", "Deadlock", "SimulatedLoop"]

# Not zero, so that a time which was forgotten is seen.
BEGINNING = 1000.0


class Deadlock(AssertionError):
    """Nothing is ready, and no timer is set: the run would wait for ever."""


class _Clock:
    """What the loop asks for sockets: there are none, so that a wait is a jump."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self.turn = 0
        self.agenda: dict[int, list[Callable[[], object]]] = {}

    def select(self, timeout: float | None) -> list[Any]:
        self.turn += 1
        if self.agenda:
            for act in self.agenda.pop(self.turn, ()):
                act()
                timeout = 0
        if timeout is None:
            if not self.agenda:
                raise Deadlock(f"nothing is ready at {self.now:.6f}, and no timer is set")
            # What is planned for a later turn comes now.
            self.agenda = {self.turn + turn - min(self.agenda): acts for turn, acts in self.agenda.items()}
            for act in self.agenda.pop(self.turn):
                act()
        elif timeout > 0:
            self.now += timeout
        return []


class SimulatedLoop(asyncio.BaseEventLoop):
    """The same seed gives the same order of callbacks, and the same times to the last bit.

    Attributes:
        told: What the loop's exception handler was told of.
        jumps: When the clock jumped, from and to.
    """

    def __init__(self) -> None:
        super().__init__()
        # BaseEventLoop leaves it to its subclasses to set this, and to define the next two methods.
        self._selector = self._clock = _Clock()
        self.told: list[dict[str, Any]] = []
        self.jumps: list[tuple[float, float]] = []
        self._timers: list[asyncio.TimerHandle] = []
        self.set_exception_handler(lambda _, context: self.told.append(context))

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def time(self) -> float:
        return self._clock.now

    @property
    def turn(self) -> int:
        """How often the loop has looked for what is ready."""
        return self._clock.turn

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = super().call_at(when, callback, *args, context=context)
        self._timers.append(timer)
        return timer

    def at_turn(self, turn: int, act: Callable[[], object]) -> None:
        """Have something done before the callbacks of a turn: between any two steps of the program."""
        self._clock.agenda.setdefault(turn, []).append(act)

    def jump(self, seconds: float) -> None:
        """Let time pass as if the process had been stopped."""
        now = self._clock.now
        self._clock.now = now + seconds
        self.jumps.append((now, now + seconds))

    def jumped_since(self, time: float) -> float:
        """Return the seconds that were jumped over since a time."""
        return sum(after - max(before, time) for before, after in self.jumps if after > time)

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are still to fire."""
        return [timer for timer in self._timers if not timer.cancelled() and timer.when() > self._clock.now + 1e-6]

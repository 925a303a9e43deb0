"""A step tells its listeners once of its beginning and once of its end, and costs nothing where nobody listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from support.serving import serving

from cometstream.steps import Step, StepListener


class Hearing:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def step_began(self, step: Step) -> None:
        self.heard.append(f"{step.kind} begins")

    def step_ended(self, step: Step) -> None:
        self.heard.append(f"{step.kind} {step.outcome}")

    @contextmanager
    def within(self, step: Step) -> Iterator[None]:
        self.heard.append("in")
        try:
            yield
        finally:
            self.heard.append("out")


class HearingCalls:
    """A listener of a session that hears of calls alone."""

    def started(self, call: Any) -> None: ...
    def answered(self, call: Any) -> None: ...
    def repeated(self, call: Any, failed: Any) -> None: ...
    def content_began(self, call: Any) -> None: ...
    def ended(self, call: Any, metrics: Any) -> None: ...


class HearingBoth(HearingCalls, Hearing):
    pass


def test_each_beginning_and_end_is_told_once() -> None:
    hearing = Hearing()
    step = Step("run", listeners=[hearing], model="m")
    step.ends("too early")
    step.begins().begins()
    with pytest.raises(KeyError), step.within():
        raise KeyError
    child = step.child("tool", "look_up", id="c1").begins()
    child.ends("error", ValueError("no"), result="r")
    child.ends("cancelled")
    step.ends("complete")
    assert hearing.heard == ["run begins", "in", "out", "tool begins", "tool error", "run complete"]
    assert (child.parent, child.name, child.about) == (step, "look_up", {"id": "c1", "result": "r"})
    assert isinstance(child.error, ValueError)
    assert repr(child) == "<Step tool look_up error>"


def test_without_listeners_nothing_is_kept() -> None:
    step = Step("row").begins()
    assert isinstance(step.within(), nullcontext)
    step.ends("error", ValueError("its frames hold the request"), attempts=1)
    assert (step.outcome, step.error, step.about) == ("error", None, {})
    child = step.child("tool", "look_up", id="c1").begins()
    child.ends("error", ValueError("its frames hold the arguments"), result="r")
    assert child is step.child("row")
    assert (child.name, child.outcome, child.error, child.about) == (None, None, None, {})


async def test_a_session_tells_those_of_its_listeners_that_hear_of_steps() -> None:
    both = HearingBoth()
    assert isinstance(both, StepListener)
    async with serving() as (_, session):
        session.listen(HearingCalls())
        forget = session.listen(both)
        session.step("batch").begins().ends("complete")
        forget()
        session.step("batch").begins().ends("complete")
    assert both.heard == ["batch begins", "batch complete"]

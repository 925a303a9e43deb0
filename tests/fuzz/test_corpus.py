"""The corpus goes through the same functions that the fuzzer calls, without the fuzzer."""

from __future__ import annotations

import pytest

from fuzz.corpus import found, seeds
from fuzz.targets import TARGETS

every_target = pytest.mark.parametrize("target", TARGETS)


def run(target: str, inputs: dict[str, bytes]) -> None:
    assert len(inputs) > 20
    for name, data in inputs.items():
        try:
            TARGETS[target](data)
        except AssertionError as broken:
            raise AssertionError(f"{target}, {name}: {broken}") from broken


@every_target
def test_no_input_that_the_fuzzer_found_breaks_a_promise(target: str) -> None:
    run(target, found(target))


@every_target
def test_no_case_of_the_catalogue_breaks_a_promise(target: str) -> None:
    run(target, seeds())


@every_target
def test_an_input_of_no_bytes_is_one_too(target: str) -> None:
    TARGETS[target](b"")

"""What a stream tells of itself is a frozen dataclass like any other, though it is filled in one go."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from cometstream import StreamMetrics

METRICS = StreamMetrics("req", 1, 0.1, 0.2, 3, 100, None)


def test_metrics_are_equal_by_their_fields_and_show_them() -> None:
    same = StreamMetrics(
        request_id="req", attempts=1, time_to_first_content=0.1, duration=0.2, chunks=3, bytes=100, usage=None
    )
    assert same == METRICS != dataclasses.replace(METRICS, chunks=4)
    assert hash(same) == hash(METRICS)
    assert repr(METRICS) == (
        "StreamMetrics(request_id='req', attempts=1, time_to_first_content=0.1, duration=0.2, chunks=3, bytes=100, usage=None, "
        "cost=None, cost_source='unknown')"
    )
    assert list(dataclasses.asdict(METRICS)) == [field.name for field in dataclasses.fields(StreamMetrics)]


def test_metrics_are_copied_and_pickled_and_never_change() -> None:
    assert METRICS == copy.copy(METRICS) == pickle.loads(pickle.dumps(METRICS))
    with pytest.raises(dataclasses.FrozenInstanceError):
        METRICS.chunks = 4  # type: ignore[misc] # that it is refused is the test

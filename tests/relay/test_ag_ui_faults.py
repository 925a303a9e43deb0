"""Every fault of the table through the protocol ``ag-ui``, read with the official models."""

from __future__ import annotations

import orjson
import pytest
from faults.relayed import ROWS, relayed_fault
from faults.table import Row
from faults.wire import TEXT
from support.browsing import data_of

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.fault} {row.moment}")
def test_every_event_of_a_fault_is_one_to_the_official_models_and_none_looks_like_success(row: Row) -> None:
    core = pytest.importorskip("ag_ui.core", reason="needs ag-ui-protocol")
    pydantic = pytest.importorskip("pydantic")
    head, body = relayed_fault(row, "ag-ui")
    if head.status != 200:
        assert row.error is not None
        assert not row.kept
        assert orjson.loads(body)["error"]["message"]
        return
    events = data_of(body)
    for event in events:
        assert not pydantic.TypeAdapter(core.Event).validate_python(event).model_extra, event
    kinds = [event["type"] for event in events]
    assert kinds[0] == "RUN_STARTED"
    assert [kind for kind in kinds if kind in ("RUN_FINISHED", "RUN_ERROR")] == kinds[-1:]
    assert (kinds[-1] == "RUN_FINISHED") == (row.error is None)
    text = "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")
    assert text == (TEXT if row.error is None else row.kept or "")

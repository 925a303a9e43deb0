"""A case as an answer of cometstream's simulated server."""

from __future__ import annotations

from cometstream.testing import Reply
from conformance.catalogue import Case

# A reset takes with it what the client's kernel has not received: the body gets the time to arrive.
_BEFORE_RESET = 0.1


def reply_of(case: Case) -> Reply:
    """Return what the server is to answer for a case."""
    http = case.http
    headers = http.get("headers", {"Content-Type": "text/event-stream"})
    framing = http.get("framing", "chunked")
    if framing == "raw":
        reply = Reply.raw(*([case.body] if case.body else []))
    else:
        reply = Reply(body=(case.body,), status=http.get("status", 200), headers=(*headers.items(),), framing=framing)
    if "encoding" in http:
        reply = reply.compressed(http["encoding"])
    if "split" in http:
        reply = reply.split(http["split"])
    if case.ending == "cut":
        return reply.cut()
    if case.ending == "reset":
        return reply.then(_BEFORE_RESET).reset()
    if case.ending == "silence":
        return reply.stall()
    if case.ending == "repeat":
        return reply.forever(float(http["every"]), case.pings)
    return reply

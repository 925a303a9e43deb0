"""Rows C: what gateways do to tool calls. ``DONE`` ends every stream that is not cut."""

from __future__ import annotations

from cometstream.errors import StreamTruncatedError
from quirks.quirk import Answer, Call, Quirk

FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n'
DONE = b"data: [DONE]\n\n"


def calls(*calls: Call, notes: dict[str, int] | None = None, finish: str = "tool_calls") -> Answer:
    return Answer(texts=(None,), calls=calls, finish=(finish,), notes=notes or {})


OSLO = Call("call_a", "weather", {"city": "Oslo"})
BERN = Call("call_b", "weather", {"city": "Bern"})

TOOL_CALLS = [
    Quirk(
        "C0 the documented shape: two calls, their fragments interleaved",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{\\"city\\":\\"Bern\\"}"}},{"index":0,"function":{"arguments":"\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, BERN),
    ),
    Quirk(
        "C1 no index, the whole call in one chunk",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"call_a","type":"function","function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_index_missing": 1}),
    ),
    Quirk(
        "C2 no index, two calls in two chunks",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"call_a","function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"call_b","function":{"name":"weather","arguments":"{\\"city\\":\\"Bern\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, BERN, notes={"tool_call_index_missing": 2}),
    ),
    Quirk(
        "C2 neither index nor id, the same tool twice",
        b"""\
data: {"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}},{"function":{"name":"weather","arguments":"{\\"city\\":\\"Bern\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(
            Call("call_x_0_0", "weather", {"city": "Oslo"}),
            Call("call_x_0_1", "weather", {"city": "Bern"}),
            notes={"tool_call_index_missing": 2, "tool_call_id_missing": 1},
        ),
    ),
    Quirk(
        "C2 neither index nor id, two tools, the first without arguments",
        b"""\
data: {"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"function":{"name":"time","arguments":""}},{"function":{"name":"weather","arguments":"{\\"city\\":\\"Bern\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(
            Call("call_x_0_0", "time", {}),
            Call("call_x_0_1", "weather", {"city": "Bern"}),
            notes={"tool_call_index_missing": 2, "tool_call_id_missing": 1},
        ),
    ),
    Quirk(
        "C2 no index, the arguments in pieces without an id",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"call_a","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"{\\"city\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"arguments":"\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_index_missing": 3}),
    ),
    Quirk(
        "C3 index 0 for both, different ids",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_b","function":{"name":"weather","arguments":"{\\"city\\":\\"Bern\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, BERN, notes={"tool_call_index_repeated": 1}),
    ),
    Quirk(
        "C3 index 0 for both, each in pieces",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_b","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":\\"Bern\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, BERN, notes={"tool_call_index_repeated": 1}),
    ),
    Quirk(
        "C3 index 0 for both, interleaved, told apart by their ids",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":"{\\"city\\":"}},{"index":0,"id":"call_b","function":{"name":"time","arguments":"{\\"zone\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"arguments":"\\"Oslo\\"}"}},{"index":0,"id":"call_b","function":{"arguments":"\\"CET\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(
            OSLO,
            Call("call_b", "time", {"zone": "CET"}),
            notes={"tool_call_index_repeated": 1, "tool_call_id_repeated": 2},
        ),
    ),
    Quirk(
        "C3 index 0 for both, no ids",
        b"""\
data: {"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}},{"index":0,"function":{"name":"weather","arguments":"{\\"city\\":\\"Bern\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(
            Call("call_x_0_0", "weather", {"city": "Oslo"}),
            Call("call_x_0_1", "weather", {"city": "Bern"}),
            notes={"tool_call_index_repeated": 1, "tool_call_id_missing": 1},
        ),
    ),
    Quirk(
        "C3 one id for two calls",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}},{"index":1,"id":"call_a","function":{"name":"time","arguments":"{}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, Call("call_a", "time", {}), notes={"tool_call_id_shared": 1}),
    ),
    Quirk(
        "C4 head and first piece of the arguments in one chunk",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather"}},{"index":0,"function":{"arguments":"{"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\\"city\\":\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO),
    ),
    Quirk(
        "C5 the first call has index 1",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_a","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO),
    ),
    Quirk(
        "C5 the index is a text",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":"0","id":"call_a","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":"0","function":{"arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO),
    ),
    Quirk(
        "C5 the index counts fragments",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{\\"city\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"function":{"arguments":"\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_index_changed": 2}),
    ),
    Quirk(
        "C6 continuations with empty id and name",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"","type":"","function":{"name":"","arguments":"{\\"city\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"","type":"function","function":{"name":"","arguments":"\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_id_empty": 2}),
    ),
    Quirk(
        "C7 id and name in every chunk",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":"{\\"city\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":"\\"Oslo\\"}"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_id_repeated": 3, "tool_call_name_repeated": 3}),
    ),
    Quirk(
        "C7 the name in every chunk, never an index or id",
        b"""\
data: {"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"function":{"name":"weather","arguments":""}}]}}]}

data: {"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"function":{"name":"weather","arguments":"{\\"city\\":"}}]}}]}

data: {"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"function":{"name":"weather","arguments":"\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(
            Call("call_x_0_0", "weather", {"city": "Oslo"}),
            notes={"tool_call_index_missing": 3, "tool_call_name_repeated": 2, "tool_call_id_missing": 1},
        ),
    ),
    Quirk(
        "C7 a fresh id for every fragment, the name repeated",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_b","function":{"name":"weather","arguments":"{\\"city\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_c","function":{"name":"weather","arguments":"\\"Oslo\\"}"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_d","function":{"name":"weather","arguments":""}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_id_changed": 3, "tool_call_name_repeated": 3}),
    ),
    Quirk(
        "C7 a fresh id for every fragment, no name, no index",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"call_a","function":{"name":"weather","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"call_b","function":{"arguments":"{\\"city\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"id":"call_c","function":{"arguments":"\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_index_missing": 3, "tool_call_id_changed": 2}),
    ),
    Quirk(
        "C7 the name in pieces",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"wea","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"ther","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_name_in_pieces": 1}),
    ),
    Quirk(
        "C8 the name before the id",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"weather","arguments":"{\\"city\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"arguments":"\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_id_late": 1}),
    ),
    Quirk(
        "C8 no id ever",
        b"""\
data: {"id":"x","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(Call("call_x_0_0", "weather", {"city": "Oslo"}), notes={"tool_call_id_missing": 1}),
    ),
    Quirk(
        "C9 the arguments as an object",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":{"city":"Oslo"}}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"arguments_object": 1}),
    ),
    Quirk(
        "C10 no arguments: an empty text, null, nothing at all",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"time","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_b","function":{"name":"time","arguments":null}},{"index":2,"id":"call_c","function":{"name":"time"}},{"index":3,"id":"call_d","function":{"name":"time","arguments":"null"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(
            Call("call_a", "time", {}),
            Call("call_b", "time", {}),
            Call("call_c", "time", {}),
            Call("call_d", "time", {}),
        ),
    ),
    Quirk(
        "C11 Gemini's thought signature, in one fragment or added by another",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","extra_content":{"google":{"thought_signature":"c2ln"}},"function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"extra_content":{"other":1},"function":{"arguments":"","note":"kept"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO),
        kept={
            "choices": [
                {
                    "message": {
                        "tool_calls": [
                            {
                                "id": "call_a",
                                "type": "function",
                                "function": {"name": "weather", "arguments": '{"city":"Oslo"}', "note": "kept"},
                                "extra_content": {"google": {"thought_signature": "c2ln"}, "other": 1},
                            }
                        ]
                    }
                }
            ]
        },
    ),
    Quirk(
        "C12 calls, and finish_reason stop",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

"""
        + DONE,
        calls(OSLO, finish="stop"),
    ),
    Quirk(
        "C13 finish_reason tool_calls, and no calls",
        b"""\
data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}

"""
        + FINISH
        + DONE,
        Answer(texts=("Hello",), finish=("stop",), notes={"finish_tool_calls_without_calls": 1}),
    ),
    Quirk(
        "C14 the arguments are cut by the connection",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":"{\\"city\\":"}}]}}]}

""",
        Answer(
            "truncated",
            texts=(None,),
            calls=(Call("call_a", "weather", None),),
            finish=(None,),
            error=StreamTruncatedError,
            retryable=True,
        ),
    ),
    Quirk(
        "C14 the arguments are cut before they begin: that is not a call without arguments",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"delete_all","arguments":""}}]}}]}

""",
        Answer(
            "truncated",
            texts=(None,),
            calls=(Call("call_a", "delete_all", None),),
            finish=(None,),
            error=StreamTruncatedError,
            retryable=True,
        ),
    ),
    Quirk(
        "C14 the arguments are cut by max_tokens",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":"{\\"city\\":"}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}

"""
        + DONE,
        calls(Call("call_a", "weather", None), finish="length"),
    ),
    Quirk(
        "C14 max_tokens cuts after the name, told in another provider's word",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"delete_all","arguments":""}}]}}]}

data: {"choices":[{"index":0,"delta":{},"finish_reason":"MAX_TOKENS"}]}

"""
        + DONE,
        calls(Call("call_a", "delete_all", None), finish="MAX_TOKENS"),
    ),
    Quirk(
        "C14 arguments that are no JSON object, under a proper finish",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":"weather","arguments":"{\\"city\\": Oslo}"}},{"index":1,"id":"call_b","function":{"name":"weather","arguments":"[1]"}},{"index":2,"id":"call_c","function":{"arguments":"{}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(Call("call_a", "weather", None), Call("call_b", "weather", None), Call("call_c", "", None)),
    ),
    Quirk(
        "C15 things that are no calls among the calls",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[null,"weather",{"index":0,"id":5,"function":"weather"}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":{"index":0}}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","function":{"name":7,"arguments":true}},{"index":0,"function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(OSLO, notes={"tool_call_malformed": 5, "tool_calls_malformed": 1, "arguments_malformed": 1}),
    ),
    Quirk(
        "C16 a call of a custom tool",
        b"""\
data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"custom","custom":{"name":"sql","input":""}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"custom":{"input":"SELECT "}}]}}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"custom":{"input":"1"}}]}}]}

"""
        + FINISH
        + DONE,
        calls(Call("call_a", "", None)),
        kept={
            "choices": [
                {
                    "message": {
                        "tool_calls": [
                            {"id": "call_a", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
                        ]
                    }
                }
            ]
        },
    ),
]

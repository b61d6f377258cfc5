"""Keeps schemathesis from standing in lines and from calling strangers: what would wait is asked without
waiting, the tickets of every FIFO wait for a moment only, and every webhook goes to a port of this
machine where nobody listens."""

import schemathesis

NOBODY = "http://127.0.0.1:9/"
MAKES_FIFOS = ("/api/v1/fifos", "/fifo/new")


@schemathesis.hook
def before_call(context, case, kwargs):
    given = [fields for fields in (case.body, case.query) if isinstance(fields, dict)]
    for fields in given:
        if "wait" in fields:
            fields["wait"] = "0s"
        if "wait_timeout" in fields:
            fields["wait_timeout"] = "100ms"
        if isinstance(fields.get("endpoint"), str):
            fields["endpoint"] = NOBODY
        callback = fields.get("callback")
        if isinstance(callback, dict) and isinstance(callback.get("url"), str):
            callback["url"] = NOBODY
    if case.path in MAKES_FIFOS and not any("wait_timeout" in fields for fields in given):
        query = case.query if isinstance(case.query, dict) else {}
        case.query = {**query, "wait_timeout": "100ms"}

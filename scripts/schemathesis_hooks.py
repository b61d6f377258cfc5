"""Keeps schemathesis from standing in lines and from calling strangers: what would wait is asked without
waiting, and every webhook goes to a port of this machine where nobody listens."""

import schemathesis

NOBODY = "http://127.0.0.1:9/"


@schemathesis.hook
def before_call(context, case, kwargs):
    for fields in (case.body, case.query):
        if not isinstance(fields, dict):
            continue
        if "wait" in fields:
            fields["wait"] = "0s"
        if isinstance(fields.get("endpoint"), str):
            fields["endpoint"] = NOBODY
        callback = fields.get("callback")
        if isinstance(callback, dict) and isinstance(callback.get("url"), str):
            callback["url"] = NOBODY

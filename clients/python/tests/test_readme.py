"""The README's examples do what it says."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

from conftest import Server

import holdfast

README = Path(__file__).resolve().parents[1] / "README.md"
FENCE = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def test_the_examples_run_and_print_what_they_should(server: Server) -> None:
    examples = FENCE.findall(README.read_text())
    assert len(examples) >= 8
    with holdfast.connect(server.address) as client:
        for code, expected in examples:
            names: dict[str, Any] = {"client": client, "holdfast": holdfast}
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code.replace("127.0.0.1:4653", server.address), names)
            assert printed.getvalue() == expected, code

"""Runs an interactive shell on a terminal of its own and talks to it as a person would.

Each argument is a step: "expect REGEX" waits for what comes to match, from where the last match ended;
"send TEXT" types, with Python's escapes; "reach NAME" waits until keys reach a program of that name. The
last word of the shell has to be awaited by a step.
"""

import os
import pty
import re
import select
import signal
import sys
import time
import warnings

warnings.simplefilter("ignore", DeprecationWarning)  # A text may have backslashes that are no escapes.
PATIENCE = 30

child, terminal = pty.fork()
if child == 0:
    os.environ["PS1"] = "$ "
    os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])

seen = b""
done = 0


def fail(why):
    os.kill(child, signal.SIGKILL)
    sys.exit(f"{why}; what came:\n{seen[:done].decode()}<HERE>{seen[done:].decode()}")


def expect(pattern):
    global seen, done
    end = time.monotonic() + PATIENCE
    while not (match := re.compile(pattern.encode()).search(seen, done)):
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        if not ready:
            fail(f"never saw {pattern!r}")
        try:
            seen += os.read(terminal, 65536)
        except OSError:
            fail(f"the shell ended before {pattern!r}")
    done = match.end()


def program_and_group(process):
    """What runs as a process, and its process group."""
    with open(f"/proc/{process}/stat") as stat:
        name, _, rest = stat.read().partition("(")[2].rpartition(")")
    return name, int(rest.split()[2])


def reach(name):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        group = os.tcgetpgrp(terminal)
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                if program_and_group(process) == (name, group):
                    return
            except OSError:
                continue  # It has ended.
        time.sleep(0.02)
    fail(f"no key reaches {name}")


expect(r"\$ ")
for step in sys.argv[1:]:
    action, _, text = step.partition(" ")
    if action == "expect":
        expect(text)
    elif action == "reach":
        reach(text)
    else:
        os.write(terminal, text.encode().decode("unicode_escape").encode())
os.close(terminal)
os.waitpid(child, 0)

#!/usr/bin/env python3
"""A client of lockable in the manner of its reference, with the standard library alone.

It polls acquire, heartbeats from a thread while it holds, and takes every 4xx for an exception.
Forty threads add one each to a number that nothing but the lock protects.
"""

import base64
import json
import os
import random
import sys
import threading
import time
import urllib.request

HOST = os.environ["HOST"]
TOKEN = os.environ.get("TOKEN")
THREADS = 40


class LockLost(Exception):
    pass


def ask(verb, name):
    request = urllib.request.Request(f"{HOST}/v1/{verb}/{name}")
    if TOKEN:
        user = base64.b64encode(f"{TOKEN}:".encode()).decode()
        request.add_header("Authorization", f"Basic {user}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["response"]


class Lock:
    def __init__(self, name):
        self.name = name
        self.lost = False

    def __enter__(self):
        while not ask("acquire", self.name):
            time.sleep(random.uniform(0.1, 1))
        self.released = threading.Event()
        self.heart = threading.Thread(target=self.beat)
        self.heart.start()
        return self

    def beat(self):
        while not self.released.is_set():
            if not ask("heartbeat", self.name):
                self.lost = True
            self.released.wait(0.02)

    def __exit__(self, *_):
        self.released.set()
        self.heart.join()
        if self.lost or not ask("release", self.name):
            raise LockLost(self.name)


number = 0
failures = []


def work():
    global number
    try:
        with Lock("number"):
            seen = number
            time.sleep(0.005)
            number = seen + 1
    except Exception as error:
        failures.append(error)


threads = [threading.Thread(target=work) for _ in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures or number != THREADS:
    sys.exit(f"{number} instead of {THREADS}; {failures}")

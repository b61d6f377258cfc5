"""The synchronous twin."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import FakeClock, Server

import holdfast


@pytest.fixture
def sync(server: Server) -> Iterator[holdfast.Client]:
    with holdfast.connect(server.address, ttl=5) as client:
        yield client


def test_a_lock_is_held_for_the_time_of_a_block(sync: holdfast.Client) -> None:
    with sync.lock("deploy").hold(owner="ci-42", release_delay=5) as grant:
        assert grant.held and not grant.lost.is_set()
        assert sync.lock("deploy").state().holders[0].owner == "ci-42"
        assert sync.lock("deploy").try_acquire() is None
        assert sync.check_grant("deploy", grant.fencing_token)
        with pytest.raises(holdfast.Held):
            sync.lock("deploy").try_run(lambda _: 1)
    assert sync.lock("deploy").run(lambda grant: grant.fencing_token) > grant.fencing_token


def test_a_loss_is_an_event_and_a_call_and_an_error(sync: holdfast.Client) -> None:
    told = threading.Event()
    with pytest.raises(holdfast.Lost), sync.lock("deploy").hold() as grant:

        def tell(loss: holdfast.Lost) -> None:
            # A callback may use the client.
            sync.lock("deploy").state()
            told.set()

        grant.on_lost(tell)
        sync.lock("deploy").force_release()
        assert grant.lost.wait(10)
    assert told.wait(10)


def test_suspended_time_counts(server: Server) -> None:
    clock = FakeClock()
    with holdfast.connect(server.address, ttl=30, clock=clock) as client:
        grant = client.lock("deploy").acquire()
        clock.ahead += 28
        assert grant.lost.is_set() and not grant.held
        with pytest.raises(holdfast.Lost):
            grant.release()


def test_a_grant_is_lost_while_the_server_is_stopped(server: Server) -> None:
    with holdfast.connect(server.address, ttl=1) as client:
        grant = client.lock("deploy").acquire()
        server.signal(signal.SIGSTOP)
        assert grant.lost.wait(5)
        server.signal(signal.SIGCONT)


def test_threads_take_turns(sync: holdfast.Client) -> None:
    inside = most = 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(10):
            with sync.lock("deploy").hold():
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_everything_else_has_a_twin(sync: holdfast.Client) -> None:
    value = sync.value("counter")
    assert value.transform(lambda old: str(int(old or b"0") + 1)).value == b"1"
    assert value.try_transform(lambda old: (old or b"") + b"0")[0]
    watching = value.watch()
    first = next(watching)
    assert first is not None and first.value == b"10"
    assert [each.key for each in sync.values()] == ["counter"]
    assert sync.get_values("counter") == [b"10"]
    assert value.delete()
    assert next(watching) is None

    queue = sync.queue("mail")
    queue.push("one")
    queue.push("two")
    queue.push("three")
    assert queue.pop() == b"one"
    with contextlib.closing(queue.consume()) as items:
        for item in items:
            with item:
                assert item.value == b"two"
            break
    taken = queue.take(0)
    assert taken is not None
    taken.give_back()
    assert queue.state().ready_count == 1

    fifo = sync.fifo("deploys")
    fifo.create(concurrency=1)
    with fifo.turn() as ticket:
        other = fifo.ticket()
        assert not ticket.lost.is_set()
        assert next(other.places()).position == 1
        other.cancel()

    with sync.lease(ttl=5) as lease:
        grant = lease.lock("a").acquire()
        assert grant.lease_id == lease.id and not lease.lost.is_set()
    with sync.election("main").lead(owner="me"):
        leader = sync.election("main").leader()
        assert leader is not None and leader.owner == "me"
    with sync.rw_lock("table").reader.hold(), sync.semaphore("pool", 3).hold():
        pass


def _work(address: str, path: str, number: int) -> None:
    with holdfast.connect(address, ttl=5, timeout=30) as client:
        for _ in range(number):
            with client.lock("file").hold() as grant:
                before = int(Path(path).read_text())
                time.sleep(0.001)
                Path(path).write_text(str(before + 1))
                client.queue("tokens").push(str(grant.fencing_token))


def test_processes_take_turns_also_over_a_killed_server(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_work, args=(server.address, str(path), 25)) for _ in range(4)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 30
    while int(path.read_text() or "0") < 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.kill()
    server.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert path.read_text() == "100"
    with holdfast.connect(server.address) as client:
        tokens = [client.queue("tokens").pop(0) for _ in range(100)]
    numbers = [int(token or b"0") for token in tokens]
    assert numbers == sorted(numbers) and len(set(numbers)) == 100
    assert Counter(numbers).most_common(1)[0][1] == 1


def test_an_interrupted_acquire_leaves_the_line(sync: holdfast.Client) -> None:
    held = sync.lock("deploy").acquire()

    def interrupt() -> None:
        while sync.lock("deploy").state().waiter_count == 0:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        sync.lock("deploy").acquire()
    thread.join()
    held.release()
    with sync.lock("deploy").hold(wait=10):
        pass


def _believe(address: str, path: str, pauses: int) -> None:
    """Hold the lock again and again, and write down when this process last believed that it did."""
    with holdfast.connect(address, ttl=0.5, timeout=30) as client:
        for _ in range(pauses):
            grant = client.lock("deploy").acquire()
            believed = time.monotonic()
            Path(path).write_text("held")
            while True:
                now = time.monotonic()
                if grant.lost.is_set():
                    break
                # The look at the clock may have been before a pause and this after it, so the time
                # is from before the look.
                believed = now
            Path(path).write_text(str(believed))
            while Path(path).read_text() != "go on":
                time.sleep(0.001)


def test_a_paused_process_does_not_believe_in_its_grant_once_another_has_it(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "believed"
    path.write_text("")
    pauses, gaps = 10, []
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=_believe, args=(server.address, str(path), pauses))
    process.start()
    with holdfast.connect(server.address) as client:
        for _ in range(pauses):
            _until(lambda: path.read_text() == "held")
            os.kill(process.pid or 0, signal.SIGSTOP)
            with client.lock("deploy").hold(wait=30):
                granted = time.monotonic()
                os.kill(process.pid or 0, signal.SIGCONT)
                _until(lambda: path.read_text() not in ("", "held"))
                gaps.append(granted - float(path.read_text()))
            path.write_text("go on")
    process.join(30)
    assert process.exitcode == 0
    assert len(gaps) == pauses and min(gaps) > 0, gaps


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)

"""The folder broker through kombu, with several producers and consumers at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty

from kombu import Connection

from services import broker


def connect(folder: Path) -> Connection:
    options = {"folder": str(folder), "polling_interval": 0.05}
    return Connection(broker.URL, transport=broker.TRANSPORT, transport_options=options)


def drain(folder: Path) -> list[int]:
    found: list[int] = []
    with connect(folder) as connection:
        queue = connection.SimpleQueue("atlas")
        while True:
            try:
                message = queue.get(timeout=0.5)
            except Empty:
                return found
            found.append(message.payload)
            message.ack()


def test_messages_keep_their_order(tmp_path: Path) -> None:
    with connect(tmp_path / "broker") as connection:
        queue = connection.SimpleQueue("atlas")
        for number in range(20):
            queue.put(number)
        assert queue.qsize() == 20
    assert drain(tmp_path / "broker") == list(range(20))
    assert list((tmp_path / "broker").iterdir()) == []


def test_each_message_reaches_one_consumer(tmp_path: Path) -> None:
    folder = tmp_path / "broker"

    def put(start: int) -> None:
        with connect(folder) as connection:
            queue = connection.SimpleQueue("atlas")
            for number in range(start, start + 100):
                queue.put(number)

    with ThreadPoolExecutor(8) as threads:
        drained = [threads.submit(drain, folder) for _ in range(4)]
        list(threads.map(put, [0, 100, 200, 300]))
        counts = Counter(number for future in drained for number in future.result())
    counts.update(drain(folder))
    assert counts == Counter(range(400))


def test_queues_do_not_mix(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        connection.SimpleQueue("gpu").put("heavy")
        connection.SimpleQueue("atlas").put(1)
    assert drain(tmp_path) == [1]


def test_purge_empties_one_queue(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        connection.SimpleQueue("gpu").put("heavy")
        queue = connection.SimpleQueue("atlas")
        queue.put(1)
        queue.put(2)
        assert queue.clear() == 2
        assert connection.SimpleQueue("gpu").qsize() == 1

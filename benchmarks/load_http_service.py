"""Ask a running HTTP service on this computer a bounded number of times; prints how long answers took.

Run: python benchmarks/load_http_service.py URL IMAGE [--requests 200] [--clients 4]
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

MOST_REQUESTS, MOST_CLIENTS = 100_000, 64
TIMEOUT_S = 60.0
PERCENTS = (50, 90, 99)
MILLI = 1e3


def loopback(url: str) -> tuple[str, int]:
    """Take a URL apart; a service on another computer is refused, since a load test is no way to treat it."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname is None:
        raise SystemExit(f"{url}: give http://127.0.0.1:PORT/")
    port = parts.port or 80
    found = {entry[4][0] for entry in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)}
    if not all(ipaddress.ip_address(address).is_loopback for address in found):
        raise SystemExit(f"{url}: not on this computer, so it is not loaded")
    return parts.hostname, port


def ask(place: tuple[str, int], body: bytes, count: int, seconds: list[float], answers: Counter[str]) -> None:
    """Ask ``count`` times over one connection, noting how long each answer took."""
    connection = http.client.HTTPConnection(*place, timeout=TIMEOUT_S)
    for _ in range(count):
        start = time.perf_counter()
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/octet-stream"})
            answer = connection.getresponse()
            answer.read()
            said = str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            said = type(error).__name__
        seconds.append(time.perf_counter() - start)
        answers[said] += 1
    connection.close()


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that ``percent`` of all do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def load(url: str, image: Path, requests: int, clients: int) -> dict[str, object]:
    """Ask with several clients at once: how long answers took, how many came a second, and what they were."""
    place, body = loopback(url), image.read_bytes()
    shares = [requests // clients + (number < requests % clients) for number in range(clients)]
    seconds: list[list[float]] = [[] for _ in shares]
    answers: list[Counter[str]] = [Counter() for _ in shares]
    threads = [
        threading.Thread(target=ask, args=(place, body, share, *notes))
        for share, *notes in zip(shares, seconds, answers, strict=True)
    ]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = time.perf_counter() - start
    every = [value for values in seconds for value in values]
    return {
        "requests": len(every),
        "clients": clients,
        "answers": dict(sum(answers, Counter())),
        "per_second": len(every) / whole,
        **{f"p{percent}_ms": percentile(every, percent) * MILLI for percent in PERCENTS},
        "longest_ms": max(every) * MILLI,
    }


def main() -> None:
    """Print the figures of one load as a line for people and one of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("image", type=Path)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    if not 1 <= given.clients <= min(MOST_CLIENTS, given.requests) or given.requests > MOST_REQUESTS:
        parser.error(f"1 to {MOST_CLIENTS} clients, and as many requests or more, up to {MOST_REQUESTS}")
    found = load(given.url, given.image, given.requests, given.clients)
    times = ", ".join(f"{name.removesuffix('_ms')} {found[name]:.1f}" for name in found if name.endswith("_ms"))
    print(f"{found['requests']} answers to {given.clients} clients: {found['per_second']:.1f} a second; ms: {times}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

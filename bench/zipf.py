#!/usr/bin/env python3
"""Recalls by the vectors of memories whose popularity follows Zipf's law with an exponent of 1.2, and says from which tier they came.

Usage: zipf.py VECTORS.npy SPACE SECONDS SEED [PORT] [METRICS_PORT]
Another seed makes others popular. Needs numpy, and a server with an `engram import` of these vectors as m0, m1, ...
"""
import http.client
import json
import re
import sys
import threading
import time
import urllib.request

import numpy as np

vectors, space, seconds, seed = np.load(sys.argv[1], mmap_mode="r"), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
port, metrics_port = (int(arg) for arg in (sys.argv[5:7] or ["8080", "9090"]))
CLIENTS = 3
weights = np.arange(1, len(vectors) + 1) ** -1.2
shares = np.cumsum(weights / weights.sum())
by_popularity = np.random.default_rng(seed).permutation(len(vectors))


def counters():
    text = urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics").read().decode()
    names = ["engram_activation_cache_requests_total", "engram_activation_cache_hits_total", "engram_memory_bytes"]
    return [float(re.search(rf"^{name} (\S+)", text, re.M).group(1)) for name in names]


def client(at, until, answers):
    rng = np.random.default_rng(seed * 100 + at)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": "application/octet-stream"}
    while time.time() < until:
        for rank in np.searchsorted(shares, rng.random(64)):
            memory = int(by_popularity[min(rank, len(vectors) - 1)])
            asked = time.time()
            path = f"/api/v1/spaces/{space}/recall?limit=1"
            connection.request("POST", path, vectors[memory].astype("<f4").tobytes(), headers)
            hit = json.loads(connection.getresponse().read())["hits"][0]
            found = hit["id"] == f"m{memory}" and hit.get("content") is not None
            answers.append((hit["tier"], (time.time() - asked) * 1e3, found))


before = counters()
answers = [[] for _ in range(CLIENTS)]
clients = [threading.Thread(target=client, args=(at, time.time() + seconds, own)) for at, own in enumerate(answers)]
[one.start() for one in clients]
[one.join() for one in clients]
after = counters()
rate = (after[1] - before[1]) / (after[0] - before[0])
total = sum(answers, [])
print(f"seed {seed}: {len(total)} recalls, {len(total) / seconds:.0f}/s; by /metrics {100 * rate:.2f} % hot, {after[2] / 1e6:.0f} MB")
last = sum((own[len(own) * 2 // 3 :] for own in answers), [])
for tier in ("hot", "warm", "cold"):
    times = [ms for came_from, ms, _ in total if came_from == tier]
    if times:
        share, of_last = len(times) / len(total), sum(answer[0] == tier for answer in last) / len(last)
        p50, p99 = np.percentile(times, [50, 99])
        print(f"  {tier}: {100 * share:.2f} %, of the last third {100 * of_last:.2f} %; p50 {p50:.2f} ms, p99 {p99:.2f} ms")
print(f"  {sum(not found for *_, found in total)} recalls found another memory first, or no content")

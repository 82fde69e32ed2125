#!/usr/bin/env python3
"""Starts a server on a folder, says how long it takes to be ready and what that costs, and ends it.

Usage: restart.py ENGRAM DATA_DIR [cached|dropped] [writes=N] [killed] [PORT]
cached: reads all files of the spaces first, so that they are in the page cache; dropped: empties the cache (needs root).
writes=N: stores N memories of 768 numbers in the space "big" once it is ready. killed: ends it by kill -9, not by SIGTERM.
Settings come from the environment, as for any server. Needs Linux.
"""
import glob
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request


def store(url, count):
    for first in range(0, count, 100):
        memories = [
            {"content": f"a note of a walk by the river {random.random()}",
             "embedding": [random.gauss(0, 1) for _ in range(768)]}
            for _ in range(first, min(first + 100, count))
        ]
        body = json.dumps({"memories": memories}).encode()
        request = urllib.request.Request(
            f"{url}/api/v1/spaces/big/memories", body, {"content-type": "application/json"})
        urllib.request.urlopen(request).read()


def costs(pid):
    """User and system seconds, MiB of memory that no file stands behind."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    user, system = (int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in fields[11:13])
    lines = (line.split() for line in open(f"/proc/{pid}/status"))
    return user, system, next(int(line[1]) / 1024 for line in lines if line[0] == "RssAnon:")


def main(engram, data_dir, *options):
    port = next((int(option) for option in options if option.isdigit()), 18196)
    writes = next((int(option[7:]) for option in options if option.startswith("writes=")), 0)
    if "dropped" in options:
        os.sync()
        open("/proc/sys/vm/drop_caches", "w").write("3")
    if "cached" in options:
        for path in glob.glob(f"{data_dir}/spaces/*/*"):
            with open(path, "rb") as file:
                while file.read(1 << 20):
                    pass
    url, log = f"http://127.0.0.1:{port}", tempfile.TemporaryFile("w+")
    began = time.time()
    server = subprocess.Popen(
        [engram, "serve", "--data-dir", data_dir, "--http", f"127.0.0.1:{port}", "--metrics",
         f"127.0.0.1:{port + 1}"], stdout=log, stderr=log)
    while True:
        if server.poll() is not None:
            sys.exit("the server ended before it was ready")
        try:
            urllib.request.urlopen(f"{url}/health/ready", timeout=5).read()
            break
        except OSError:
            time.sleep(0.02)
    ready = time.time() - began
    user, system, anonymous = costs(server.pid)
    log.seek(0)
    phases = [json.loads(line) for line in log if '"phase"' in line]
    opened = next(phase["latency_ms"] for phase in phases if phase["phase"] == "open spaces") / 1000
    print(f"{' '.join(options)}: ready after {ready:.1f} s, spaces open after {opened:.1f}; user {user:.1f} s, "
          f"system {system:.1f} s; {anonymous:.0f} MiB anonymous", end="")
    store(url, writes)
    began = time.time()
    server.send_signal(signal.SIGKILL if "killed" in options else signal.SIGTERM)
    server.wait()
    print(f"; ended in {time.time() - began:.1f} s", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])

#!/usr/bin/env python3
"""Plots what a recall takes as a space grows, by one client, with generated memories: p50 by vector, by text and by both.

Usage: growth.py ENGRAM OUT.svg [MEMORIES ...]
Prints the figures. Of 768 numbers a vector; 10,000 to 1,000,000 memories unless said otherwise, which takes some 6 GB and a
quarter of an hour on two cores. Run nothing else meanwhile.
"""
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

engram, out = sys.argv[1:3]
sizes = [int(size) for size in sys.argv[3:]] or [10_000, 31_623, 100_000, 316_228, 1_000_000]
CUES = {"both": "#1b6ca8", "vector": "#c0504d", "text": "#4f8a10"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 70, 90, 40, 50


def measured(folder, size, cue, seconds):
    figures = Path(folder, "figures.json")
    subprocess.run(
        [engram, "benchmark", "--data-dir", f"{folder}/data", "--keep", "--memories", str(size), "--dimensions", "768",
         "--mix", "recall=100", "--concurrency", "1", "--cue", cue, "--duration", f"{seconds}s", "--output", str(figures)],
        check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    made = json.loads(figures.read_text())
    return made["made"], made["loads"][0]["operations"]["recall"]


rows = {cue: [] for cue in CUES}
for size in sizes:
    with tempfile.TemporaryDirectory() as folder:
        measured(folder, size, "both", 1)
        for cue in CUES:
            made, times = measured(folder, size, cue, 10)
            rows[cue].append(times["p50_ms"])
            print(f"{size:9,} memories, by {cue:6}: p50 {times['p50_ms']:.3f} ms, p99 {times['p99_ms']:.3f}", flush=True)
for cue, p50 in rows.items():
    print(f"by {cue}: {p50[-1] / p50[0]:.1f} times as long at {sizes[-1]:,} as at {sizes[0]:,}")

all_times = [time for p50 in rows.values() for time in p50]
low, high = min(all_times) / 1.3, max(all_times) * 1.3


def place(size, time):
    across = math.log(size / sizes[0]) / math.log(sizes[-1] / sizes[0])
    up = math.log(time / low) / math.log(high / low)
    return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def text(x, y, words, more=""):
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{words}</text>'


parts = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
    f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    text(LEFT, 22, f"A recall as the space grows: p50, one client, {made['processor']}, {made['date'][:10]}", 'font-size="14"'),
    text(LEFT + 150, HEIGHT - 10, "memories (768 numbers each)"),
]
for size in sizes:
    x, y = place(size, low)
    parts.append(f'<line x1="{x:.0f}" y1="{TOP}" x2="{x:.0f}" y2="{y:.0f}" stroke="#ddd"/>')
    parts.append(text(x, y + 18, f"{size:,}", 'text-anchor="middle"'))
for time in [.1, .2, .5, 1, 2, 5, 10, 20, 50]:
    if low <= time <= high:
        x, y = place(sizes[0], time)
        parts.append(f'<line x1="{x:.0f}" y1="{y:.0f}" x2="{WIDTH - RIGHT}" y2="{y:.0f}" stroke="#ddd"/>')
        parts.append(text(x - 8, y + 4, f"{time:g} ms", 'text-anchor="end"'))
for cue, colour in CUES.items():
    points = [place(size, time) for size, time in zip(sizes, rows[cue])]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    parts.append(text(points[-1][0] + 8, points[-1][1] + 4, f"{cue} ({rows[cue][-1] / rows[cue][0]:.1f} x)", f'fill="{colour}"'))
Path(out).write_text("\n".join(parts + ["</svg>"]) + "\n")

#!/usr/bin/env bash
# Profiles recalls, and stores, under load: bench/profile.sh ENGRAM DATA.npy OUT
# Writes OUT/{recall,store}.svg (flame graphs) and OUT/figures.txt (hottest functions, cache misses, allocations and lock
# waits an operation). Needs perf, valgrind, strace and inferno; what is missing is skipped with a line that says so.
set -euo pipefail
engram=$(realpath "$1") data=$(realpath "$2") out=$3
mkdir -p "$out"
out=$(realpath "$out")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
figures=$out/figures.txt
: > "$figures"

say() { echo "$*" | tee -a "$figures"; }
missing() { ! command -v "$1" >/dev/null && say "skipped: $2, for want of $1"; }
# Runs a mix on the memories that the first run stored, and names the operations done.
load() { # MIX SECONDS CLIENTS
  "$engram" benchmark --data-dir "$work/data" --keep --data "$data" --cue vector --warmup 0s --mix "$1" --duration "$2" \
    --concurrency "$3" --output "$work/run.json" >/dev/null </dev/null
}
operations() { grep -o '"count": *[0-9]*' "$work/run.json" | head -1 | grep -o '[0-9]*'; }

say "$("$engram" --version), $(date +%F), $(nproc) cores, $(basename "$data")"
load recall=100 1s 1
for mix in recall store; do
  if ! missing perf "the flame graph of $mix"; then
    # Starting takes samples too, and so does the exact search that answers are checked with: neither is kept.
    perf record -q -F 997 -g --call-graph dwarf,16384 -o perf.data -- \
      "$engram" benchmark --data-dir "$work/data" --keep --data "$data" --cue vector --mix "$mix=100" --duration 3s \
      --concurrency 1 >/dev/null </dev/null 2>/dev/null || true
    perf script -i perf.data 2>/dev/null > perf.txt || true
    if ! missing inferno-collapse-perf "drawing it"; then
      inferno-collapse-perf perf.txt 2>/dev/null | grep -E "Space::$mix" \
        | grep -v 'find_nearest;.*extend_desugared<(u32, f32)' | sed -E "s/.*(engram::space::Space::$mix)/\1/" > folded.txt
      inferno-flamegraph --minwidth 0.4 --title "$mix" < folded.txt | sed "s/TO[D]O/Note/" > "$out/$mix.svg"
      say "" "hottest functions of $mix, in percent of its samples"
      awk '{ count = $NF; sub(/ [0-9]+$/, ""); n = split($0, f, ";"); self[f[n]] += count; all += count }
        END { for (name in self) printf "%5.1f %s\n", 100 * self[name] / all, name }' folded.txt | sort -rn | head -12 \
        | cut -c1-110 | tee -a "$figures"
    fi
  fi
  if ! missing strace "lock waits of $mix"; then
    strace -f -c -e trace=futex -o strace.txt "$engram" benchmark --data-dir "$work/data" --keep --data "$data" --cue vector \
      --warmup 0s --mix "$mix=100" --duration 4s --concurrency 8 --output run.json >/dev/null </dev/null
    say "futex calls an operation, 8 clients, $mix: $(awk '$NF == "futex" { print $4 }' strace.txt | head -1) in $(operations)"
  fi
  if ! missing valgrind "cache and allocation figures of $mix"; then
    for seconds in 5 25; do
      valgrind --tool=dhat --dhat-out-file=/dev/null --log-file="dhat.$seconds" "$engram" benchmark --memories 500 \
        --dimensions 384 --cue vector --warmup 0s --mix "$mix=100" --duration "${seconds}s" --concurrency 1 --output run.json \
        >/dev/null </dev/null || true
      echo "$(grep -o 'Total:.*' "dhat.$seconds" | grep -o '[0-9,]* blocks' | tr -d ', a-z') $(operations)" > "blocks.$seconds"
    done
    read -r few_blocks few < blocks.5
    read -r more_blocks more < blocks.25
    say "allocations a $mix, the whole process: $(awk "BEGIN { printf \"%.1f\", ($more_blocks - $few_blocks) / ($more - $few) }")"
    valgrind --tool=cachegrind --cache-sim=yes --cachegrind-out-file=/dev/null --log-file=cache.txt "$engram" benchmark \
      --memories 2000 --dimensions 384 --cue vector --mix "$mix=100" --duration 10s --concurrency 1 >/dev/null </dev/null || true
    say "simulated caches, $mix among 2,000 memories, loading included:" "$(grep -E 'miss rate' cache.txt | sed 's/.*== //')"
  fi
done

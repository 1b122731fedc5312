#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# fuzz.sh [SECONDS [TARGET...]]: builds the fuzz targets of tests/fuzz in build-fuzz, with clang and its sanitizers, and
# runs each (or those named: ini, json, ...) for so long, by default 60 seconds, from the seeds in tests/fuzz/corpus and
# what earlier runs found; 0: those alone, each once. Prints how many inputs each was given; exit code 1 where one crashed, leaked or took too long.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

seconds=${1:-60}
shift || true
[[ $seconds =~ ^(0|[1-9][0-9]*)$ ]] || fail "'$seconds' is no number of seconds"
command -v clang++ >/dev/null || fail "clang++ not found: install clang"

cmake -S . -B build-fuzz -G Ninja --log-level=NOTICE -DKVCALIB_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++
cmake --build build-fuzz --target fuzz

TMPDIR=$(mktemp -d -p "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
ulimit -s 1024 # KiB: what calls itself too often is found sooner
ulimit -c 0

for_so_long=(-max_total_time="$seconds")
[ "$seconds" != 0 ] || for_so_long=(-runs=0)
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(find tests/fuzz -name 'fuzz_*.cpp' ! -name fuzz_target.cpp -printf '%f\n' |
  sed 's/^fuzz_\(.*\)\.cpp$/\1/' | sort)
failed=()
for target in "${targets[@]}"; do
  [ -x "build-fuzz/fuzz_$target" ] || fail "there is no target '$target'"
  folder=build-fuzz/fuzzing/$target
  mkdir -p "$folder/corpus" "$folder/found"
  verdict=clean
  "build-fuzz/fuzz_$target" "${for_so_long[@]}" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
    -artifact_prefix="$folder/found/" -print_final_stats=1 "$folder/corpus" "tests/fuzz/corpus/$target" \
    >"$folder/log" 2>&1 || verdict=failed
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$folder/log")
  printf '%-14s %10s executions, %s\n' "$target" "${runs:-?}" "$verdict"
  [ $verdict = clean ] || failed+=("$target")
done
for target in "${failed[@]}"; do
  say "$target: see build-fuzz/fuzzing/$target/log; the input is in build-fuzz/fuzzing/$target/found" >&2
done
[ ${#failed[@]} -eq 0 ]

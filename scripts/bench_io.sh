#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bench_io.sh [--work DIR] [--build DIR] [--layers N]: what `kvcalib shard` costs beside `cp -r` of the same bytes
# (medians of three, in turns; the goal is 1.3 times), then how fast weights are read beside plain pread (bench.sh
# --rows reading). Layers of the 7B shape, 8 ranks, as many as have room, in /dev/shm, or in DIR, where both wait for
# the disk. Programs are those of --build, by default build/.
set -euo pipefail
scripts=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
work=/dev/shm
build=$scripts/../build
layers=
while [ $# -gt 0 ]; do
  case $1 in
  --work) work=$(realpath "$2") ;;
  --build) build=$(realpath "$2") ;;
  --layers) layers=$2 ;;
  *)
    sed -n '3,6s/^# //p' "${BASH_SOURCE[0]}"
    [ "$1" = --help ] && exit 0 || exit 2
    ;;
  esac
  shift 2
done
. "$scripts/environment.sh"
find_torch || fail "PyTorch not found: run scripts/setup.sh, or name one in CMAKE_PREFIX_PATH"
[ -x "$build/kvcalib" ] || fail "$build/kvcalib is not there: run scripts/build.sh, or name a folder with --build"

# In MB: room on the disk, and in memory where that is the same; a layer; the tables of embedding and head.
room=$(df --output=avail -BM "$work" | tail -n 1 | tr -dc 0-9)
memory=$(($(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024))
room=$(((room < memory ? room : memory) * 7 / 10))
layer=405
tables=525
distinct=2
layers=${layers:-$(((room - 3 * tables - 2 * distinct * layer) / layer))}
[ "$layers" -le 32 ] || layers=32
[ "$layers" -ge 4 ] || fail "$work: no room for 4 layers; name another folder with --work"

folder=$(mktemp -d "$work/kvcalib-bench-XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$python" scripts/make_checkpoint.py --config configs/llama-2-7b.json --output "$folder/weights" --tp 8 \
  --layers "$layers" --distinct-layers "$distinct" >/dev/null # the other layers are links to these

seconds() { # of a command
  local start end
  start=$(date +%s.%N)
  "$@" >/dev/null 2>&1 || fail "$1: failed"
  sync -f "$folder"
  end=$(date +%s.%N)
  rm -rf "$folder/copy"
  echo "$start $end" | awk '{ printf "%.3f\n", $2 - $1 }'
}
median() { printf '%s\n' "$@" | sort -n | sed -n 2p; }

shard=("$build/kvcalib" shard --weights "$folder/weights" --output "$folder/copy" --quiet --tp)
copies=() same=() fewer=()
for _ in 1 2 3; do
  copies+=("$(seconds cp -rL "$folder/weights" "$folder/copy")")
  same+=("$(seconds "${shard[@]}" 8)")
  fewer+=("$(seconds "${shard[@]}" 2)")
done
bytes=$(du -sbLl "$folder/weights" | cut -f 1)
say "$layers layers, $((bytes / 1000000)) MB, in $work; $(nproc) CPUs, load $(cut -d ' ' -f 1 /proc/loadavg)"
echo "$(median "${copies[@]}") $(median "${same[@]}") $(median "${fewer[@]}") $bytes" | awk '{
  printf "cp -r              %7.2f s  %5.2f GB/s\n", $1, $4 / $1 / 1e9
  printf "shard, 8 to 8      %7.2f s  %5.2f GB/s  %5.2f of cp, goal at most 1.3\n", $2, $4 / $2 / 1e9, $2 / $1
  printf "shard, 8 to 2      %7.2f s  %5.2f GB/s  %5.2f of cp, goal at most 1.3\n", $3, $4 / $3 / 1e9, $3 / $1 }'

scripts/bench.sh --rows reading --build "$build" --output "$folder" | sed -n '/reading/p'

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gpu_check.sh [--multi] [OUTPUT]: everything that only a machine with a GPU can tell, in under nine minutes: builds, runs
# the GPU's tests, the kernels' again under compute-sanitizer, holds ranges and bytes against the CPU's, and measures
# (bench.sh). With --multi what needs several: NCCL's tests, the same bytes on 1, 2, 4 and 8 GPUs, ranks that others start,
# a rank that is killed or short of memory, and how models of 104B and 7B scale. Logs, bench.json and bench.md go to OUTPUT, by default
# build-ci/gpu-check. Exit code 1 when anything failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
multi=false
[ "${1:-}" != --multi ] || { multi=true && shift; }
output=$(realpath -m "${1:-build-ci/gpu-check}")
mkdir -p "$output"
if [ -z "${CMAKE_PREFIX_PATH:-}" ] && [ ! -d .venv ]; then # a machine that has its own PyTorch
  CMAKE_PREFIX_PATH=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')
  export CMAKE_PREFIX_PATH
fi
python=python3
[ ! -x .venv/bin/python ] || python=.venv/bin/python
failed=()

# step NAME COMMAND...: runs it, its output in OUTPUT/NAME.log, and tells how it went.
step() {
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$output/$name.log" 2>&1; then
    echo "$name: done in $((SECONDS - start)) s"
  else
    failed+=("$name")
    echo "$name: FAILED after $((SECONDS - start)) s; the end of $output/$name.log:"
    tail -n 25 "$output/$name.log"
  fi
}

finish() {
  [ ${#failed[@]} = 0 ] && exit 0
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
}

check_several() {
  local gpus
  gpus=$(nvidia-smi -L | wc -l)
  [ "$gpus" -gt 1 ] || {
    echo "gpu_check.sh: --multi needs two GPUs or more, nvidia-smi lists $gpus" >&2
    exit 1
  }
  step tests build-ci/test_multi_gpu
  grep -h 'PASSED\|FAILED\|SKIPPED' "$output/tests.log" | sort -u | head -n 20
  step ranks "$python" scripts/check_ranks.py --ranks "$(for n in 1 2 4 8; do [ $n -gt "$gpus" ] || echo $n; done | paste -sd,)"
  cat "$output/ranks.log"
  step bench scripts/bench.sh --build build-ci --output "$output" --rows 104b,7b
  [ ! -e "$output/bench.md" ] || cat "$output/bench.md"
  finish
}

run_tests() {
  # In one process: ctest would start the GPU anew for each test.
  build-ci/test_gpu 2>&1 | tee "$output/test_gpu.out"
  grep -q '  PASSED  ' "$output/test_gpu.out" && ! grep -q ' SKIPPED ' "$output/test_gpu.out"
}

# Racecheck looks at shared memory, which the norm and the rotation use.
sanitize() {
  local tool=$1 filter=$2
  compute-sanitizer --tool "$tool" --error-exitcode 1 build-ci/test_gpu --gtest_filter="$filter"
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
step build env KVCALIB_CUDA=ON scripts/build.sh ci --target all
[ ${#failed[@]} = 0 ] || exit 1
! $multi || check_several
step tests run_tests
grep -h 'PASSED\|FAILED\|SKIPPED' "$output/tests.log" | sort -u | head -n 20
step cpu-kernels build-ci/test_kernels # with the instruction sets of this machine's processor
if command -v compute-sanitizer >/dev/null; then
  step memcheck sanitize memcheck 'GpuRmsNorm*:GpuSwiglu*:GpuRotaryObserve*:GpuScoreRows*:*Quantize*/*.HasTheBitsAndCountsOfTheCpuTwin'
  step racecheck sanitize racecheck 'GpuRmsNorm*:GpuRotaryObserve*:GpuScoreRows*:*Quantize*/*.HasTheBitsAndCountsOfTheCpuTwin'
  grep -h 'ERROR SUMMARY\|RACECHECK SUMMARY' "$output/memcheck.log" "$output/racecheck.log" || true
else
  failed+=("compute-sanitizer is not there")
fi
step ranges "$python" scripts/check_gpu_ranges.py
cat "$output/ranges.log"
step bench scripts/bench.sh --build build-ci --output "$output"
[ ! -e "$output/bench.md" ] || cat "$output/bench.md"

finish

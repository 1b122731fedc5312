#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# quickstart.sh [OUTPUT]: sets up, builds, makes the int8 KV scales of the embedded model and tells what they cost, on a GPU
# if there is one.
set -euo pipefail
output=$(realpath -m "${1:-$(dirname "${BASH_SOURCE[0]}")/../quickstart-output}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
scripts/build.sh
run() {
  echo "+ $*"
  "$@"
}
run build/kvcalib calibrate --weights configs/tiny-4m/weights --data configs/tiny-4m/text.jsonl --output "$output" \
  --samples 32 --length 512 --force
run build/kvcalib verify "$output"
run build/kvcalib inspect "$output"
run build/kvcalib evaluate --weights configs/tiny-4m/weights --scales "$output" --data configs/tiny-4m/text.jsonl \
  --length 512 --limit 24 --tasks configs/tiny-4m/endings.jsonl
echo "The scale files, config.ini with its config.patch, kv_stats.safetensors and summary.json are in $output"

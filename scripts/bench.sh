#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bench.sh [--quick] [--rows NAME,...] [--output DIR]: measures what kvcalib costs on this machine beside what it cannot
# go below, into bench.json and bench.md. All options: bench.sh --help. See bench.py.
set -euo pipefail
scripts=$(dirname "${BASH_SOURCE[0]}")
python=$(
  . "$scripts/environment.sh"
  find_torch || fail "PyTorch not found: run scripts/setup.sh --dev, or name one in CMAKE_PREFIX_PATH"
  echo "$python"
)
exec "$python" "$scripts/bench.py" "$@"

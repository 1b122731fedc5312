#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_faults.sh [BUILD FOLDER [OPTION...]]: lets each system call of calibrate, export and shard that concerns their
# files fail, one in a run, and counts what became of the runs; options are those of tests/cli/faults.py, as --every 10.
# Exit code 1 when a run broke what is promised. The whole takes some ten minutes on two cores.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

folder=${1:-build-ci}
shift || true
[ -e "$folder/libfail_at_calls.so" ] || fail "$folder holds no libfail_at_calls.so: run scripts/build.sh ci --target all"
find_torch || fail "PyTorch not found: run scripts/setup.sh"
KVCALIB=$folder/kvcalib PYTHONDONTWRITEBYTECODE=1 "$python" tests/cli/faults.py "$@"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# test.sh [PRESET [CTEST ARGUMENT...]]: sets up, builds and runs every test, by default of the `release` preset.
# Labels choose: test.sh release -L unit (or cli, gpu, multi_gpu). What build.sh reads from the environment counts too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

preset=${1:-release}
shift || true
scripts/setup.sh
scripts/build.sh "$preset" --target all
exec ctest --preset "$preset" --no-tests=error "$@"

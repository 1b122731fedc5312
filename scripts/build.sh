#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh [PRESET [BUILD ARGUMENT...]]: configures and builds a preset of CMakePresets.json, by default `release`,
# whose program is build/kvcalib. Other presets build everything in build-PRESET. Installs nothing: see setup.sh.
#   CMAKE_PREFIX_PATH   where a PyTorch is that goes before the one in .venv
#   KVCALIB_PYTHON      the interpreter that the tests use, by default the one that holds PyTorch
#   KVCALIB_SHARED      the folder of large test data, by default ../shared
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

preset=${1:-release}
shift || true
folder=build-$preset
[ "$preset" != release ] || folder=build

find_torch || fail "PyTorch not found: run scripts/setup.sh, or name one in CMAKE_PREFIX_PATH"
find_nvcc || fail "nvcc of CUDA $torch_cuda, which PyTorch is built with, not found: run scripts/setup.sh"

configure=(
  "-DTorch_DIR=$torch/share/cmake/Torch"
  "-DCMAKE_CUDA_COMPILER=$nvcc"
  "-DCUDAToolkit_ROOT=$toolkit"
  "-DCUDA_TOOLKIT_ROOT_DIR=$toolkit"
  "-DKVCALIB_PYTHON=${KVCALIB_PYTHON:-$python}"
  "-DKVCALIB_SHARED=${KVCALIB_SHARED:-$(dirname "$PWD")/shared}"
)
# Torch's CMake package remembers where it found its parts.
if [ -e "$folder/CMakeCache.txt" ]; then
  for setting in "${configure[@]:0:2}"; do
    variable=${setting#-D}
    grep -q "^${variable%%=*}:[A-Z]*=${variable#*=}\$" "$folder/CMakeCache.txt" || configure+=(--fresh)
  done
fi

if [ -z "${CMAKE_BUILD_PARALLEL_LEVEL:-}" ]; then # a file with Torch's headers takes 1.5 GB to compile
  memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 2000000))
  CMAKE_BUILD_PARALLEL_LEVEL=$(printf '%s\n' "$(nproc)" $((memory > 0 ? memory : 1)) | sort -n | head -n 1)
  export CMAKE_BUILD_PARALLEL_LEVEL
fi

say "configuring $folder with $torch and $nvcc"
cmake --preset "$preset" --log-level=NOTICE "${configure[@]}"
say "building $folder"
cmake --build --preset "$preset" "$@"

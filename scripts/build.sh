#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build.sh [PRESET [BUILD ARGUMENT...]]: configures and builds a preset of CMakePresets.json, by default `release`,
# whose program is build/kvcalib. Other presets build everything in build-PRESET. Installs nothing: see setup.sh.
#   KVCALIB_CUDA        ON builds for GPUs too, which takes nvcc, OFF for CPUs alone; by default as nvcc is there or not
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
cuda=${KVCALIB_CUDA:-}
[ "$preset" != cpu ] || cuda=OFF
case "$cuda" in
  ON) find_nvcc || fail "$no_nvcc" ;;
  OFF) ;;
  '')
    cuda=ON
    find_nvcc || { cuda=OFF && say "$no_nvcc; until then the program computes on CPUs alone"; }
    ;;
  *) fail "KVCALIB_CUDA is '$cuda', expected ON or OFF" ;;
esac

configure=("-DTorch_DIR=$torch/share/cmake/Torch" "-DKVCALIB_CUDA=$cuda")
[ $cuda = OFF ] || configure+=("-DCMAKE_CUDA_COMPILER=$nvcc")
remembered=("${configure[@]}")
[ $cuda = OFF ] || configure+=("-DCUDAToolkit_ROOT=$toolkit" "-DCUDA_TOOLKIT_ROOT_DIR=$toolkit")
configure+=(
  "-DKVCALIB_PYTHON=${KVCALIB_PYTHON:-$python}"
  "-DKVCALIB_SHARED=${KVCALIB_SHARED:-$(dirname "$PWD")/shared}"
)
# Torch's CMake package remembers where it found its parts.
if [ -e "$folder/CMakeCache.txt" ]; then
  for setting in "${remembered[@]}"; do
    variable=${setting#-D}
    grep -q "^${variable%%=*}:[A-Z]*=${variable#*=}\$" "$folder/CMakeCache.txt" || configure+=(--fresh)
  done
fi

if [ -z "${CMAKE_BUILD_PARALLEL_LEVEL:-}" ]; then # a file with Torch's headers takes 1.5 GB to compile
  memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 2000000))
  CMAKE_BUILD_PARALLEL_LEVEL=$(printf '%s\n' "$(nproc)" $((memory > 0 ? memory : 1)) | sort -n | head -n 1)
  export CMAKE_BUILD_PARALLEL_LEVEL
fi

say "configuring $folder with $torch and $([ $cuda = OFF ] && echo "without CUDA" || echo "$nvcc")"
cmake --preset "$preset" --log-level=NOTICE "${configure[@]}"
say "building $folder"
cmake --build --preset "$preset" "$@"

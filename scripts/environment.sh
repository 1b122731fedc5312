# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: goes to the repository root and says where PyTorch and nvcc are.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/versions.sh

say() { echo "$(basename "$0"): $*"; }
fail() {
  say "$*" >&2
  exit 1
}

# at_least MINIMUM VERSION
at_least() { [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Sets torch (the folder that holds share/cmake/Torch), python (an interpreter for the scripts and tests) and
# torch_cuda (the CUDA release that it is built with; empty for one without CUDA). One in CMAKE_PREFIX_PATH goes before
# the one in .venv.
find_torch() {
  local prefix
  torch=
  own_torch=false
  while read -r -d : prefix; do
    if [ -e "$prefix/Torch/TorchConfig.cmake" ]; then
      torch=$(realpath "$prefix/../..")
    elif [ -e "$prefix/share/cmake/Torch/TorchConfig.cmake" ]; then
      torch=$(realpath "$prefix")
    fi
    [ -z "$torch" ] || break
  done <<<"${CMAKE_PREFIX_PATH:-}:"
  if [ -z "$torch" ]; then
    for prefix in .venv/lib/python3.*/site-packages/torch; do
      [ -e "$prefix/share/cmake/Torch/TorchConfig.cmake" ] || continue
      torch=$PWD/$prefix
      own_torch=true
    done
  fi
  [ -n "$torch" ] || return 1
  python=${torch%/lib/python3*}/bin/python3
  [ -x "$python" ] || python=$(command -v python3 || true)
  torch_cuda=
  [ -e "$torch/lib/libtorch_cuda.so" ] || return 0
  torch_cuda=$(sed -n "s/^cuda.*= *'\([0-9.]*\)'.*/\1/p" "$torch/version.py" 2>/dev/null || true)
  torch_cuda=${torch_cuda:-$CUDA_VERSION}
}

# nvcc_release NVCC: its CUDA release, such as 13.0
nvcc_release() { "$1" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\),.*/\1/p'; }

# Sets nvcc and toolkit (the folder above its bin): of PyTorch's CUDA release, or, for a PyTorch that is not the
# project's own, at least of the same major release. Otherwise no_nvcc says why not. Call find_torch first.
find_nvcc() {
  local candidate release
  local same_major=
  nvcc=
  if [ -z "$torch_cuda" ]; then
    no_nvcc="PyTorch in $torch is without CUDA: name one that has it in CMAKE_PREFIX_PATH"
    return 1
  fi
  no_nvcc="nvcc of CUDA $torch_cuda, which PyTorch is built with, not found: run scripts/setup.sh --cuda"
  for candidate in "${CUDACXX:-}" "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" "$(command -v nvcc || true)" \
    "/usr/local/cuda-$torch_cuda/bin/nvcc" /usr/local/cuda/bin/nvcc "$PWD/.cuda/bin/nvcc"; do
    [ -x "$candidate" ] || continue
    release=$(nvcc_release "$candidate" || true)
    if [ "$release" = "$torch_cuda" ]; then
      nvcc=$candidate
      break
    elif [ "${release%%.*}" = "${torch_cuda%%.*}" ]; then
      same_major=${same_major:-$candidate}
    fi
  done
  if [ -z "$nvcc" ] && ! $own_torch; then
    nvcc=$same_major
  fi
  [ -n "$nvcc" ] || return 1
  [ "$nvcc" = "$PWD/.cuda/bin/nvcc" ] || nvcc=$(realpath "$nvcc")
  toolkit=$(dirname "$(dirname "$nvcc")")
}

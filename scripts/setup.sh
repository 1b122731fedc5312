#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# setup.sh [--cuda] [--dev]: makes a fresh Debian 12 or Ubuntu 24.04 (root or sudo) ready to build and test the project.
# With --dev also nvcc, ccache, clang-format, clang-tidy, Google Benchmark, Transformers and compressed-tensors. Run again,
# it only adds what is missing.
#   compilers, CMake and libraries   from the distribution
#   PyTorch, NCCL, Python packages   from PyPI into .venv, unless CMAKE_PREFIX_PATH names a PyTorch
#   nvcc                             from PyPI into .venv, with .cuda laid over it, unless the machine has the right one;
#                                    only with --cuda (or KVCALIB_CUDA=ON), with --dev, and where there is an NVIDIA GPU
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

missing=()

need_command() { command -v "$1" >/dev/null || missing+=("$2"); }

need_header() {
  [ -e "/usr/include/$1" ] || [ -e "/usr/local/include/$1" ] ||
    g++ -E -include "$1" -x c++ /dev/null >/dev/null 2>&1 || missing+=("$2")
}

find_missing() {
  missing=()
  need_command g++ g++
  need_command cmake cmake
  need_command ninja ninja-build
  need_command pkg-config pkg-config
  need_command patch patch
  python3 -c 'import ensurepip, venv' 2>/dev/null || $external_torch || missing+=(python3-venv)
  need_command python3 python3
  need_header cxxopts.hpp libcxxopts-dev
  need_header nlohmann/json.hpp nlohmann-json3-dev
  need_header zlib.h zlib1g-dev
  need_header openssl/evp.h libssl-dev
  need_header gtest/gtest.h libgtest-dev
  pkg-config --exists sentencepiece 2>/dev/null || missing+=(libsentencepiece-dev)
  if $developer; then
    need_command ccache ccache
    need_command clang-format clang-format
    need_command clang-tidy clang-tidy
    need_header benchmark/benchmark.h libbenchmark-dev
  fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  else
    sudo "$@"
  fi
}

may_install() {
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }
}

# Runs a command silently; shows what it printed when it fails.
quietly() {
  local log
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    fail "this failed: $*"
  fi
  rm -f "$log"
}

install_system_packages() {
  find_missing
  if [ ${#missing[@]} = 0 ]; then
    say "compilers, tools and libraries: all there"
  else
    may_install ||
      fail "missing, and no rights to install it; as root: apt-get install ${missing[*]}"
    say "installing with apt-get: ${missing[*]}"
    quietly as_root apt-get -q update
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "${missing[@]}"
    find_missing
    [ ${#missing[@]} = 0 ] || fail "apt-get left these missing: ${missing[*]}"
  fi
  local found
  found=$(cmake --version | sed -n 's/^cmake version //p')
  at_least $MINIMUM_CMAKE "$found" || fail "cmake is $found, and $MINIMUM_CMAKE or later is needed"
  found=$(g++ -dumpversion)
  at_least $MINIMUM_GXX "$found" || fail "g++ is $found, and $MINIMUM_GXX or later is needed"
}

# Whether .venv holds these packages at their versions, by a complete installation.
venv_has() {
  [ -x .venv/bin/python ] && [ ! -e .venv/incomplete ] && .venv/bin/python - "$@" <<'PYTHON'
import importlib.metadata, sys
for pin in sys.argv[1:]:
    name, version = pin.split("==")
    try:
        package = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        sys.exit(1)
    if package.version != version or package.files is None:
        sys.exit(1)
PYTHON
}

# A file `incomplete` marks a .venv that is being written: one found at the start was interrupted and is made anew.
install_python_packages() {
  if [ -e .venv/incomplete ] || { [ -e .venv ] && ! .venv/bin/python -m pip --version >/dev/null 2>&1; }; then
    say "removing the .venv of an interrupted set-up"
    rm -rf .venv
  fi
  say "installing with pip into .venv: $*"
  mkdir -p .venv
  touch .venv/incomplete
  [ -x .venv/bin/python ] || python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --progress-bar off "$@" </dev/null ||
    fail "pip failed (see above); run this again"
  rm .venv/incomplete
}

# A toolkit folder over the wheels, which lack the unversioned names that linkers look for.
lay_out_cuda_folder() {
  local site folder file name
  say "laying out .cuda over nvcc's packages"
  rm -rf .cuda .cuda.partial
  mkdir -p .cuda.partial/{bin,include,lib}
  for site in "$PWD"/.venv/lib/python3.*/site-packages "$(dirname "$torch")"; do
    for folder in bin include lib; do
      for file in "$site/nvidia/cu13/$folder"/*; do
        name=.cuda.partial/$folder/$(basename "$file")
        [ ! -e "$file" ] || [ -e "$name" ] || ln -s "$file" "$name"
      done
    done
    [ ! -d "$site/nvidia/cu13/nvvm" ] || ln -sfn "$site/nvidia/cu13/nvvm" .cuda.partial/nvvm
  done
  for file in .cuda.partial/lib/*.so.*; do
    name=${file%%.so.*}.so
    [ -e "$name" ] || ln -s "$(basename "$file")" "$name"
  done
  ln -s lib .cuda.partial/lib64
  mv .cuda.partial .cuda
}

has_gpu() { [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null; }

install_nvcc() {
  [ -n "$torch_cuda" ] || fail "$no_nvcc"
  [ "$torch_cuda" = "$CUDA_VERSION" ] ||
    fail "PyTorch in $torch is built with CUDA $torch_cuda: install that release's toolkit (nvcc) on this machine"
  if ! venv_has "${NVCC_PACKAGES[@]}"; then
    install_python_packages "${NVCC_PACKAGES[@]}"
    lay_out_cuda_folder
  elif ! find_nvcc; then
    lay_out_cuda_folder
  fi
  find_nvcc || fail "nvcc of CUDA $torch_cuda still not found; remove .venv and .cuda and run this again"
}

developer=false
cuda=false
[ "${KVCALIB_CUDA:-}" != ON ] || cuda=true
for argument in "$@"; do
  case "$argument" in
    --cuda) cuda=true ;;
    --dev) developer=true && cuda=true ;;
    *) fail "usage: scripts/setup.sh [--cuda] [--dev]" ;;
  esac
done

python_packages=("${TORCH_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}")
if $developer; then
  python_packages+=("${DEVELOPER_PYTHON_PACKAGES[@]}")
fi

external_torch=false
if find_torch && ! $own_torch; then
  external_torch=true
fi

install_system_packages

if $external_torch; then
  found=$(sed -n "s/^__version__ = '\([0-9.]*\).*/\1/p" "$torch/version.py" 2>/dev/null || true)
  [ -z "$found" ] || at_least $MINIMUM_TORCH "$found" ||
    fail "PyTorch in $torch (from CMAKE_PREFIX_PATH) is $found, and $MINIMUM_TORCH or later is needed"
  say "PyTorch: $torch (from CMAKE_PREFIX_PATH)"
elif venv_has "${python_packages[@]}"; then
  say "PyTorch and Python packages in .venv: all there"
else
  install_python_packages "${python_packages[@]}"
fi

find_torch || fail "pip left no PyTorch in .venv; remove .venv and run this again"
if [ -n "$torch_cuda" ] && [ "${KVCALIB_CUDA:-}" != OFF ] && has_gpu; then
  cuda=true
fi
if ! find_nvcc || [ "$toolkit" = "$PWD/.cuda" ]; then
  ! $cuda || install_nvcc
fi
if [ -n "$nvcc" ]; then
  say "nvcc: $nvcc ($(nvcc_release "$nvcc"))"
else
  say "nvcc: none, which a program for CPUs alone does not need; --cuda brings it"
fi
say "ready"

#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# lint.sh [BUILD FOLDER]: check_rooms.py, clang-format and clang-tidy over the project's sources; the folder, by default
# build-ci, has been configured. A file that was clean is looked at again when it, a header or .clang-tidy has changed.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

folder=${1:-build-ci}
[ -e "$folder/compile_commands.json" ] || fail "$folder has not been configured: run scripts/build.sh first"
mapfile -t sources < <(find calibrate kernels sharding tests -name '*.cpp' | sort)
mapfile -t others < <(find calibrate kernels sharding tests -name '*.h' -o -name '*.cu' -o -name '*.cuh' | sort)

python3 scripts/check_rooms.py || fail "a room includes what it does not know, or units each other (see above)"
say "rooms: they include what they know, and no units each other"

clang-format -n --Werror "${sources[@]}" "${others[@]}"
say "clang-format: ${#sources[@]} sources and ${#others[@]} others are clean"

common=$(cat .clang-tidy "${others[@]}" <(clang-tidy --version) | sha256sum)
mkdir -p "$folder/tidy"
tidy() {
  local stamp
  stamp=$folder/tidy/$({ echo "$common $1" && cat "$1"; } | sha256sum | cut -c 1-32)
  [ -e "$stamp" ] && return
  clang-tidy --quiet -p "$folder" --extra-arg=-Wno-unknown-warning-option "$1" 2>/dev/null && touch "$stamp"
}
export -f tidy
export common folder
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -I{} bash -c 'tidy {}' || fail "clang-tidy found faults (see above)"
say "clang-tidy: ${#sources[@]} sources are clean"

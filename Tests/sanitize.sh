#!/usr/bin/env bash
# The multi-rank suite under a sanitizer: memory that is misused, or threads that race, in our code.
#
#   Tests/sanitize.sh [address|thread [RANKS...]]      address at 1, 2, 3 and 4 ranks by default
#
# Open MPI isn't built with the sanitizer: what it leaks isn't looked for, and of races only those are seen in which both
# sides are ours.
set -euo pipefail
cd "$(dirname "$0")/.."
sanitizer=${1:-address}
shift || true
if [ $# = 0 ]; then set -- 1 2 3 4; fi
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
build=(swift build --sanitize="$sanitizer" --scratch-path ".build-$sanitizer" --product multirank-suite)
"${build[@]}"
suite="$("${build[@]}" --show-bin-path)/multirank-suite"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:log_path="$folder/report"
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:log_path="$folder/report"
# What takes a second takes several, and the ranks share cores.
export RINGTRAIN_TIMEOUT=120
for ranks in "$@"; do
  for arguments in "" "matrix 100 $ranks"; do
    # A single rank has nobody to differ from.
    if [ "$ranks" = 1 ] && [ -n "$arguments" ]; then continue; fi
    # shellcheck disable=SC2086
    timeout 1200 mpirun --oversubscribe -np "$ranks" "$suite" $arguments > "$folder/out" 2>&1 || {
      cat "$folder/out" "$folder"/report* 2> /dev/null
      echo "sanitize: the suite failed at $ranks ranks under $sanitizer" >&2
      exit 1
    }
    if compgen -G "$folder/report*" > /dev/null; then
      cat "$folder"/report*
      echo "sanitize: findings at $ranks ranks under $sanitizer" >&2
      exit 1
    fi
    tail -n 1 "$folder/out"
  done
done

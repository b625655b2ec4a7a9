#!/usr/bin/env bash
# Feeds a parser with whatever libFuzzer comes upon, under AddressSanitizer. What it finds ends it, and is left in
# .build-fuzz/PARSER-…; new paths are kept in .build-fuzz/corpus for the next time.
#
#   Tests/fuzz.sh all|PARSER [SECONDS [ARGUMENTS…]]    60 s each by default; ARGUMENTS go to libFuzzer
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=${1:?which parser? or all} seconds=${2:-60}
shift $(($# < 2 ? $# : 2))

# Instrumented, in a folder of its own: nothing of it gets into other builds.
build=(swift build -c release --product hostile-input)
instrumented=(--sanitize fuzzer --sanitize address --scratch-path .build-fuzz -Xswiftc -DFUZZING)
"${build[@]}"
"${build[@]}" "${instrumented[@]}"
plain="$(swift build -c release --show-bin-path)/hostile-input"
fuzzed="$(swift build -c release "${instrumented[@]}" --show-bin-path)/hostile-input"

"$plain" seeds .build-fuzz/seeds
parsers=("$wanted")
if [ "$wanted" = all ]; then mapfile -t parsers < <("$plain" parsers); fi
for parser in "${parsers[@]}"; do
  echo "== $parser"
  mkdir -p ".build-fuzz/corpus/$parser"
  # What is read may become a table of 64 MiB; more is too much.
  HOSTILE_INPUT=$parser ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=0 "$fuzzed" \
    -max_total_time="$seconds" -max_len=4096 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0 \
    -artifact_prefix=".build-fuzz/$parser-" "$@" ".build-fuzz/corpus/$parser" ".build-fuzz/seeds/$parser"
done

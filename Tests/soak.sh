#!/usr/bin/env bash
# Ten million small and ten thousand large allreduces: no wrong sum, flat memory, no allocation in a call.
#
#   Tests/soak.sh [RANKS [SMALL [LARGE]]]      2 10000000 10000 by default
set -euo pipefail
cd "$(dirname "$0")/.."
ranks=${1:-2} small=${2:-10000000} large=${3:-10000}
if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
swift build -c release --product multirank-suite
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/count.c" <<'C'
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
static atomic_long count;
int64_t ringtrain_allocation_count(void) { return atomic_load(&count); }
void *malloc(size_t size) { atomic_fetch_add(&count, 1); return __libc_malloc(size); }
void *calloc(size_t number, size_t size) { atomic_fetch_add(&count, 1); return __libc_calloc(number, size); }
void *realloc(void *old, size_t size) { atomic_fetch_add(&count, 1); return __libc_realloc(old, size); }
C
cc -shared -fPIC -O2 "$folder/count.c" -o "$folder/libcount.so"
mpirun --oversubscribe -np "$ranks" -x LD_PRELOAD="$folder/libcount.so" \
  "$(swift build -c release --show-bin-path)/multirank-suite" soak "$small" "$large"

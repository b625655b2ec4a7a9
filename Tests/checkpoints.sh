#!/usr/bin/env bash
# A training is killed again and again at a random point of writing a checkpoint: at any of its bytes, the rest of the
# piece unwritten, or around a system call that makes the file stay and gives it its name. It is started again each time,
# one time in four after the newest file has been damaged as well. It must always find the newest good one, never older
# than one interval, say so of a damaged one, and end with the bits of a training that was never killed.
#
#   Tests/checkpoints.sh [KILLS [SUITE [SEED]]]   200 by default; SUITE: multirank-suite, built in release mode by default
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-200} suite=${2:-} RANDOM=${3:-1} every=20 pause=200
if [ -z "$suite" ]; then
  swift build -c release --product multirank-suite
  suite="$(swift build -c release --show-bin-path)/multirank-suite"
fi
# In memory: a disk that others keep busy would make an interval longer than it says.
folder=$(mktemp -d /dev/shm/checkpoints.XXXXXX)
trap 'rm -rf "$folder"' EXIT
fail() { echo "checkpoints: $* (after $killed kills)" >&2; cat "$folder/err" >&2; exit 1; }

# Ends the process when a checkpoint's file has KILL_AT bytes, all such files of the process taken together, or at the
# system call number KILL_CALL of those that complete one.
cat > "$folder/kill.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_checkpoint(int file, int or_folder) {
  char link[40], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return strstr(path, "/.step-") != NULL || (or_folder && length > 4 && strcmp(path + length - 4, "/run") == 0);
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static void at_call(void) {
  static long calls;
  const char *limit = getenv("KILL_CALL");
  if (limit && ++calls == atol(limit)) die();
}

ssize_t write(int file, const void *bytes, size_t count) {
  static long written;
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  const char *limit = getenv("KILL_AT");
  if (limit && is_checkpoint(file, 0)) {
    if (written + (long)count >= atol(limit)) {
      real(file, bytes, atol(limit) - written);
      die();
    }
    written += count;
  }
  return real(file, bytes, count);
}

int fsync(int file) {
  int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
  if (!is_checkpoint(file, 1)) return real(file);
  at_call();
  int result = real(file);
  at_call();
  return result;
}

int rename(const char *from, const char *to) {
  int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
  if (!strstr(from, "/.step-")) return real(from, to);
  at_call();
  int result = real(from, to);
  at_call();
  return result;
}
C
"$(command -v cc || command -v clang)" -shared -fPIC -O2 "$folder/kill.c" -o "$folder/libkill.so"

# The number of steps taken, which the training leaves in a file of 8 bytes; 0 before the first.
progress() { if [ -s "$folder/run.progress" ]; then od -An -t d8 "$folder/run.progress" | tr -d ' '; else echo 0; fi; }
random() { echo $(((RANDOM << 30 | RANDOM << 15 | RANDOM) % $1)); }
# The complete files, the newest first, and the step in the name of one.
files() { find "$folder/run" -name 'step-*.safetensors' 2> /dev/null | sort -r; }
step() { if [ -n "$1" ]; then echo $((10#$(basename "$1" .safetensors | cut -c6-))); else echo 0; fi; }

killed=0 partial=0 damaged=0 taken=0 oldest=0 expected=0 bad='' size=0
while [ "$killed" -lt "$kills" ]; do
  # The first file shows whether there is room for one; three intervals after it are enough to die in.
  point=(KILL_AT=$((size + 1 + $(random $((3 * size + 1))))))
  if [ "$size" = 0 ]; then point=(KILL_CALL=12); fi
  if [ $((RANDOM % 6)) = 0 ]; then point=(KILL_CALL=$((1 + $(random 20)))); fi
  code=0
  # The shell would say each time that it was killed.
  { (exec env LD_PRELOAD="$folder/libkill.so" "${point[@]}" timeout -s ABRT 60 \
    "$suite" checkpoints "$folder/run" 1000000 "$every" "$pause" > "$folder/out" 2> "$folder/err") || code=$?
  } 2> /dev/null
  [ "$code" = 137 ] || fail "with ${point[*]} the training ended with code $code"
  from=$(sed -n 's/^from //p' "$folder/out")
  if [ -n "$from" ]; then
    [ "$from" = "$expected" ] || fail "step $from was loaded, not $expected"
    if [ -n "$bad" ]; then
      grep -q "^warning: .*$bad" "$folder/err" || fail "nothing was said of the damaged $bad"
      bad=''
    fi
  elif ! [[ ${point[0]} = KILL_CALL=* ]]; then
    fail "no checkpoint was loaded"
  fi
  killed=$((killed + 1))
  taken=$(progress)
  if compgen -G "$folder/run/.step-*" > /dev/null; then partial=$((partial + 1)); fi
  mapfile -t names < <(files)
  expected=$(step "${names[0]:-}")
  # What fell due before the kill was being written at most: the one before is there.
  [ "$expected" -ge $((taken / every * every - every)) ] || fail "killed after step $taken, but $expected is the newest"
  if [ -z "$bad" ]; then [ $((taken - expected)) -le "$oldest" ] || oldest=$((taken - expected)); fi
  if [ "${#names[@]}" -gt 0 ]; then size=$(stat -c %s "${names[0]}"); fi
  if [ -z "$bad" ] && [ "${#names[@]}" -gt 1 ] && [ $((RANDOM % 4)) = 0 ]; then
    bad=$(basename "${names[0]}")
    offset=$(random "$size")
    if [ $((RANDOM % 2)) = 0 ]; then
      truncate -s "$offset" "${names[0]}"
    else
      byte=$(od -An -t u1 -j "$offset" -N 1 "${names[0]}")
      printf "\\x$(printf %02x $((byte ^ 1 << RANDOM % 8)))" | dd of="${names[0]}" bs=1 seek="$offset" conv=notrunc status=none
    fi
    damaged=$((damaged + 1))
    expected=$(step "${names[1]}")
    # What was taken after that is lost by what was done here.
    rm "$folder/run.progress"
  elif [ -n "$bad" ]; then
    # It was killed before it had looked.
    expected=$(step "${names[1]}")
  fi
done

epochs=$(((taken > expected ? taken : expected) / 100 + 1))
whole=$("$suite" checkpoints "$folder/whole" "$epochs" 1000000 0 | sed -n 's/^hash //p')
resumed=$("$suite" checkpoints "$folder/run" "$epochs" "$every" 0 2> "$folder/err" | sed -n 's/^hash //p')
[ -n "$whole" ] && [ "$whole" = "$resumed" ] || fail "after $epochs epochs the weights are $resumed, not $whole"
if compgen -G "$folder/run/.step-*" > /dev/null; then fail "half-written files are left"; fi
echo "checkpoints: $killed kills amid writing, $partial of them with a part of a file, $damaged files damaged and passed" \
  "over; at most $oldest steps lost of $every and those in writing; after $epochs epochs the same bits as without"

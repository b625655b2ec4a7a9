#!/usr/bin/env bash
# Allreduce between hosts that 1 Gbit/s links join, made of this machine by Tests/multihost.sh (root needed). For each
# size and algorithm: how many times as fast as MPI_Allreduce, and the share of what the links allow, both by medians.
# Arguments go to `ringtrain bench allreduce`: -n 100 or --buffers shared, for example.
set -euo pipefail
cd "$(dirname "$0")/../.."
swift build -c release --product ringtrain
program="$(swift build -c release --show-bin-path)/ringtrain"

MULTIHOST=$(HOSTS=4 RATE=1gbit OWNER=$$ Tests/multihost.sh up)
export MULTIHOST
trap 'Tests/multihost.sh down' EXIT

# $1: the ranks of each host, as mpirun's --host takes them. The rest goes to the benchmark.
measure() {
  local ranks="$1"; shift
  echo
  Tests/multihost.sh run --host "$ranks" "$program" bench allreduce -b 4K -e 16M -n 40 -w 2 \
    --algorithm automatic,ring,hierarchical,native "$@" | tee "$MULTIHOST/table"
  echo
  # Each host has to send, and receive, 2(h-1)/h of the buffer; of 1 Gbit/s, 0.1195 GB/s are left for TCP's payload.
  # No share below 1 MiB: before the links slow down, they let a burst of 256 KiB through.
  awk '
    /^# allreduce/ { for (i = 1; i < NF; i++) if ($(i + 1) ~ /^host/) hosts = $i }
    !/^#/ && NF == 12 {
      if (!(($1, $6) in native)) { order[++rows] = $1 " " $6; native[$1, $6] = "" }
      if ($5 == "native") native[$1, $6] = $7
      if (!($5 in known)) { known[$5]; names[++algorithms] = $5 }
      time[$1, $6, $5] = $7
    }
    END {
      printf "%10s %9s", "size (B)", "buffers"
      for (i = 1; i <= algorithms; i++) printf "%22s", names[i]
      print "   (× as fast as native, share of the limit)"
      for (r = 1; r <= rows; r++) {
        split(order[r], key, " ")
        printf "%10d %9s", key[1], key[2]
        for (i = 1; i <= algorithms; i++) {
          t = time[key[1], key[2], names[i]]
          limit = key[1] * 2 * (hosts - 1) / hosts / 0.1195e3
          printf "%14.2f %7s", native[key[1], key[2]] / t, key[1] < 2 ^ 20 ? "-" : sprintf("%.1f%%", 100 * limit / t)
        }
        print ""
      }
    }' "$MULTIHOST/table"
}

measure node1,node2,node3,node4 "$@"
measure node1:2,node2:2 "$@"

#!/usr/bin/env bash
# Trains on the hosts of a hostfile, one rank a slot. Where they can't be reached, or with --local, it runs as many
# ranks on this host alone, so that the example always shows something.
#
#   run.sh [--hostfile FILE] [--interfaces LIST] [--local] [ARGUMENTS OF ringtrain train …]
#
# Every host needs: ssh to it without a password (ssh-copy-id), the package openmpi-bin in the same version, and the
# program under the same path: a shared file system, or a copy (rsync). Without Swift on the other hosts, build with
# swift build -c release --static-swift-stdlib.
set -euo pipefail
source "$(dirname "$0")/../setup.sh"

hostfile="$(dirname "$0")/hostfile"
interfaces=""
local=false
while [ $# -gt 0 ]; do
  case "$1" in
  --hostfile) hostfile="$2"; shift 2 ;;
  --interfaces) interfaces="$2"; shift 2 ;;
  --local) local=true; shift ;;
  *) break ;;
  esac
done
[ -r "$hostfile" ] || fail "can't read the hostfile $hostfile"

setup
build ringtrain

# The command by which Open MPI starts its daemons on other hosts.
read -r -a remote <<<"${OMPI_MCA_plm_rsh_agent:-ssh -o BatchMode=yes -o ConnectTimeout=5}"
slots=0
while read -r host rest; do
  case "$host" in "" | "#"*) continue ;; esac
  count=1
  [[ "$rest" =~ slots=([0-9]+) ]] && count="${BASH_REMATCH[1]}"
  slots=$((slots + count))
  $local && continue
  if ! "${remote[@]}" "$host" true </dev/null; then
    echo "$host can't be reached: running $hostfile's ranks on this host alone"
    local=true
  elif ! "${remote[@]}" "$host" test -x "$program" </dev/null; then
    fail "$host has no $program: copy it there, or put it on a file system that all hosts share"
  fi
done <"$hostfile"

options=()
if $local; then
  temporary="$(mktemp)"
  trap 'rm -f "$temporary"' EXIT
  echo "localhost slots=$slots" >"$temporary"
  hostfile="$temporary"
else
  # A host may have networks that the others don't share (those of containers, say), and Open MPI would try them all.
  # Name the common one, as an interface (eth0) or as a subnet (192.168.1.0/24), for both: btl_tcp carries the data,
  # oob_tcp the messages by which the job is started and ended.
  if [ -n "$interfaces" ]; then
    options+=(--mca btl_tcp_if_include "$interfaces" --mca oob_tcp_if_include "$interfaces")
  fi
  # When a host or a cable is lost, the job ends within seconds; by default its ranks wait for ever. Two seconds of
  # silence, then one probe a second; two that go unanswered are enough.
  options+=(--mca oob_tcp_keepalive_time 2 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 2)
fi
mpirun --hostfile "$hostfile" ${options[@]+"${options[@]}"} "$program" train "$@"

#!/usr/bin/env bash
# Several "hosts" on one Linux machine, to run mpirun over: each is a network, host-name, IPC and mount namespace with
# its own /dev/shm and sshd; a bridge joins them. Needs root, iproute2 and openssh-server.
#
#   multihost.sh check              exits with 77, and prints why, where that isn't possible
#   multihost.sh up                 makes the hosts node1 … nodeN and prints the folder that stands for them:
#                                   MULTIHOST, if set, or a new temporary one. The others need MULTIHOST=FOLDER
#       HOSTS=2  SLOTS=1            how many, and how many ranks each takes
#       RATE=1gbit                  what a host's link carries each way; any speed unless set
#       OWNER=PID                   when this process ends, so do the hosts
#   multihost.sh run ARGS...        mpirun ARGS..., started on node1; over all hosts unless ARGS have --host(file)
#   multihost.sh launch CMD...      runs CMD, which starts mpirun itself, on node1, the settings in its environment
#   multihost.sh on I CMD...        runs CMD on node I
#   multihost.sh link I up|down|RATE|any   connects, cuts, reshapes or frees the link of node I
#   multihost.sh down               ends the hosts, whatever runs on them, and removes FOLDER
#
#   export MULTIHOST=$(HOSTS=4 RATE=1gbit multihost.sh up); multihost.sh run -np 4 PROGRAM; multihost.sh down
set -euo pipefail

PORT=2222
SUBNET=10.77.0
self=$(realpath "$0")

fail() { echo "multihost.sh: $1" >&2; exit "${2:-1}"; }

# Namespaces are named after the folder, so that two sets of hosts never meet.
locate() {
  [ -n "${MULTIHOST:-}" ] || fail "MULTIHOST must name the folder that 'up' printed"
  folder=$(realpath -m "$MULTIHOST")
  prefix=ringtrain-$(printf %s "$folder" | cksum | cut -d' ' -f1)
}

obstacle() {
  [ "$(uname -s)" = Linux ] || { echo "not Linux"; return; }
  [ "$(id -u)" = 0 ] || { echo "not root"; return; }
  local tool
  for tool in ip:iproute2 tc:iproute2 unshare:util-linux nsenter:util-linux ssh:openssh-client \
    /usr/sbin/sshd:openssh-server mpirun:openmpi-bin; do
    command -v "${tool%:*}" > /dev/null || { echo "no ${tool%:*} (package ${tool#*:})"; return; }
  done
  grep -q '^root:!' /etc/shadow 2> /dev/null && { echo "root's account is locked: sshd lets nobody in"; return; }
  local name=ringtrain-check-$$
  {
    ip netns add "$name" && ip netns exec "$name" unshare --uts --mount --ipc sh -ec 'mount -t tmpfs tmpfs /run
      ip link add br0 type bridge; ip link add veth0 type veth peer name veth1
      tc qdisc add dev veth0 root tbf rate 1gbit burst 256kb latency 50ms'
  } > /dev/null 2>&1 || echo "no namespaces with bridges, shaped links and mounts (a container without privileges?)"
  ip netns del "$name" 2> /dev/null || true
}

# Both ends, so that a host receives no faster than it sends.
shape() {
  ip netns exec "$prefix-$1" tc qdisc replace dev eth0 root tbf rate "$2" burst 256kb latency 50ms
  ip netns exec "$prefix-switch" tc qdisc replace dev "node$1" root tbf rate "$2" burst 256kb latency 50ms
}

on() {
  local host=$1; shift
  exec nsenter -t "$(cat "$folder/sshd$host.pid")" --net --uts --mount --ipc --wd=. -- "$@"
}

namespaces() { ip netns list | cut -d' ' -f1 | grep -E "^$prefix-([0-9]+|switch)$" || true; }

up() {
  local count=${HOSTS:-2} slots=${SLOTS:-1} host tries
  MULTIHOST=${MULTIHOST:-$(mktemp -d "${TMPDIR:-/tmp}/ringtrain-hosts.XXXXXX")}
  locate
  [ -z "$(namespaces)" ] || fail "the hosts of $folder are up"
  trap 'down; exit 1' EXIT INT TERM HUP
  mkdir -p -m 700 "$folder" "$folder/tmp"
  # Everything that stays gets a clean environment: nothing of what this is a part of.
  if [ -n "${OWNER:-}" ]; then
    setsid env -i PATH="$PATH" MULTIHOST="$folder" bash -c \
      'tail --pid="$1" -f /dev/null; exec "$2" down' - "$OWNER" "$self" < /dev/null > /dev/null 2>&1 &
    echo $! > "$folder/watcher"
  fi
  ssh-keygen -q -t ed25519 -N '' -f "$folder/id"
  ssh-keygen -q -t ed25519 -N '' -f "$folder/hostkey"
  cat > "$folder/sshd_config" <<END
Port $PORT
HostKey $folder/hostkey
AuthorizedKeysFile $folder/id.pub
StrictModes no
AllowUsers root
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
MaxStartups 100
AcceptEnv RINGTRAIN_* TMPDIR
END
  cat > "$folder/rsh" <<END
#!/bin/sh
exec ssh -F none -p $PORT -i $folder/id -o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes \\
  -o UserKnownHostsFile=$folder/known_hosts -o GlobalKnownHostsFile=none -o LogLevel=ERROR \\
  -o SendEnv="RINGTRAIN_* TMPDIR" "\$@"
END
  chmod 755 "$folder/rsh"

  ip netns add "$prefix-switch"
  ip -n "$prefix-switch" link add br0 type bridge
  ip -n "$prefix-switch" link set br0 up
  echo "127.0.0.1 localhost" > "$folder/hosts"
  for host in $(seq "$count"); do
    echo "$SUBNET.$host node$host" >> "$folder/hosts"
    echo "node$host slots=$slots" >> "$folder/hostfile"
    echo "[node$host]:$PORT $(cut -d' ' -f1,2 "$folder/hostkey.pub")" >> "$folder/known_hosts"
    ip netns add "$prefix-$host"
    ip -n "$prefix-$host" link set lo up
    ip -n "$prefix-$host" link add eth0 type veth peer name "node$host" netns "$prefix-switch"
    ip -n "$prefix-switch" link set "node$host" master br0 up
    ip -n "$prefix-$host" addr add "$SUBNET.$host/24" dev eth0
    ip -n "$prefix-$host" link set eth0 up
    [ -z "${RATE:-}" ] || shape "$host" "$RATE"
    # Every program replaces the one before, so that this is sshd's process in the end.
    env -i PATH="$PATH" ip netns exec "$prefix-$host" unshare --uts --mount --ipc sh -ec 'hostname "$1"
      mount --bind "$2/hosts" /etc/hosts
      mount -t tmpfs tmpfs /dev/shm
      mount -t tmpfs tmpfs /run
      mkdir /run/sshd
      exec /usr/sbin/sshd -D -e -f "$2/sshd_config"' - "node$host" "$folder" \
      < /dev/null > "$folder/sshd$host.log" 2>&1 &
    echo $! > "$folder/sshd$host.pid"
    disown
  done
  for host in $(seq "$count"); do
    tries=0
    until ip netns exec "$prefix-$host" bash -c ": < /dev/tcp/$SUBNET.$host/$PORT" 2> /dev/null; do
      tries=$((tries + 1))
      [ $tries -lt 100 ] || fail "node$host doesn't listen: $(cat "$folder/sshd$host.log")"
      sleep 0.05
    done
  done
  trap - EXIT INT TERM HUP
  echo "$folder"
}

# All that Open MPI leaves lying about when it is killed is in the hosts' own /dev/shm; TMPDIR is a folder that all
# hosts see. Every host takes itself for the only one on the machine, so ranks aren't bound to its cores, and yield.
launch() {
  export TMPDIR="$folder/tmp" OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
  export OMPI_MCA_plm_rsh_agent="$folder/rsh" \
    OMPI_MCA_btl_tcp_if_include="$SUBNET.0/24" OMPI_MCA_oob_tcp_if_include="$SUBNET.0/24" \
    OMPI_MCA_orte_tmpdir_base=/dev/shm OMPI_MCA_btl_vader_backing_directory=/dev/shm \
    OMPI_MCA_osc_sm_backing_directory=/dev/shm OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
  on 1 "$@"
}

run() { launch mpirun --mca orte_default_hostfile "$folder/hostfile" "$@"; }

# Works as well on what an interrupted 'up' has left.
down() {
  local name process tries
  for name in $(namespaces); do
    tries=0
    while [ -n "$(ip netns pids "$name")" ] && [ $tries -lt 100 ]; do
      for process in $(ip netns pids "$name"); do kill -KILL "$process" 2> /dev/null || true; done
      sleep 0.01
      tries=$((tries + 1))
    done
    ip netns del "$name"
  done
  process=$(cat "$folder/watcher" 2> /dev/null || echo $$)
  rm -rf "$folder"
  # The watcher with its group, unless it is what runs this.
  [ "$process" = $$ ] || kill -TERM -- "-$process" 2> /dev/null || true
}

command=${1:-help}
[ $# = 0 ] || shift
case $command in
  check)
    reason=$(obstacle)
    [ -z "$reason" ] || { echo "$reason"; exit 77; }
    ;;
  up)
    reason=$(obstacle)
    [ -z "$reason" ] || fail "$reason" 77
    up
    ;;
  run) locate; run "$@" ;;
  launch) locate; launch "$@" ;;
  on) locate; on "$@" ;;
  link)
    locate
    case $2 in
      up | down) ip -n "$prefix-$1" link set eth0 "$2" ;;
      any)
        ip netns exec "$prefix-$1" tc qdisc del dev eth0 root
        ip netns exec "$prefix-switch" tc qdisc del dev "node$1" root
        ;;
      *) shape "$1" "$2" ;;
    esac
    ;;
  down) locate; down ;;
  *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" ;;
esac

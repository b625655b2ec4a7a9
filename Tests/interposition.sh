#!/usr/bin/env bash
# Runs other people's MPI programs with libRingTrainMPI preloaded: mpi4py's own tests of collectives, at 2, 3 and 4
# ranks, and the loop of OSU's osu_allreduce with and without. Takes some minutes; needs PyPI.
#
#   Tests/interposition.sh [MPI4PY_VERSION]
set -euo pipefail
cd "$(dirname "$0")/.."
source mpirun-examples/setup.sh

version="${1:-3.1.6}"
setup python3-venv
swift build -c release --product RingTrainMPI
library="$(swift build -c release --show-bin-path)/libRingTrainMPI.so"

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# What this version's setup.py was written for.
"$folder/venv/bin/pip" install -q 'setuptools<70' wheel 'cython<3' numpy
"$folder/venv/bin/pip" download -q --no-binary :all: --no-deps --no-build-isolation -d "$folder" "mpi4py==$version"
"$folder/venv/bin/pip" install -q --no-build-isolation "$folder/mpi4py-$version.tar.gz"
tar -xzf "$folder/mpi4py-$version.tar.gz" -C "$folder"

# Preloaded into the program alone: mpirun needs none of it.
preloaded() {
  local ranks=$1
  shift
  mpirun --oversubscribe -np "$ranks" -x LD_PRELOAD="$library" -x RINGTRAIN_MPI=verbose "$@"
}

failed=0
for suite in test_cco_buf test_cco_nb_buf test_cco_vec test_cco_obj test_cco_obj_inter; do
  for ranks in 2 3 4; do
    # From where the suite lies: it imports its neighbours.
    if (cd "$folder/mpi4py-$version/test" && preloaded "$ranks" "$folder/venv/bin/python" "$suite.py" -q) \
      >"$folder/log" 2>&1; then
      echo "$suite at $ranks ranks: $(grep -m 1 '^Ran' "$folder/log"), OK; $(grep 'RingTrain served' "$folder/log" || true)"
    else
      echo "$suite at $ranks ranks: FAILED"
      cat "$folder/log"
      failed=1
    fi
  done
done

mpicc -O2 -o "$folder/latency" Tests/Interposition/latency.c
for ranks in 2 3 4; do
  echo "MPI_Allreduce at $ranks ranks, µs: bytes, Open MPI's, ours"
  mpirun --oversubscribe -np "$ranks" "$folder/latency" >"$folder/plain"
  preloaded "$ranks" "$folder/latency" >"$folder/ours"
  paste "$folder/plain" "$folder/ours" | awk 'NR > 1 { printf "%10d %12.2f %12.2f\n", $1, $2, $4 }'
done
exit $failed

# Sourced by the scripts of this repository: finds the tools, and installs what is missing.
# shellcheck shell=bash disable=SC2034,SC2120

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

fail() {
  echo "error: $*" >&2
  exit 1
}

# Installs the Debian packages that are missing, and says so; silent when all are there.
install_packages() {
  local package missing=()
  command -v dpkg-query >/dev/null || {
    command -v mpirun >/dev/null || fail "not a Debian system: install the equivalents of $* first"
    return 0
  }
  for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0

  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || fail "packages are missing; as root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  as_root+=(env DEBIAN_FRONTEND=noninteractive)
  echo "Installing Debian packages: ${missing[*]}"
  # Lists of packages may be missing, as in a fresh container, or so old that what they name is gone.
  local install=("${as_root[@]}" apt-get install -y -q --no-install-recommends "${missing[@]}")
  if ! apt-cache show "${missing[@]}" >/dev/null 2>&1 || ! "${install[@]}"; then
    "${as_root[@]}" apt-get update -q
    "${install[@]}" || fail "can't install ${missing[*]}"
  fi
}

# What every build needs: Swift, which is there already, Open MPI and oneDNN; any further packages are arguments.
setup() {
  command -v swift >/dev/null || fail "swift isn't on the PATH; get Swift 6.2 or later from https://www.swift.org/install"
  install_packages libopenmpi-dev openmpi-bin zlib1g-dev libdnnl-dev pkg-config "$@"
  # Open MPI refuses to run as root unless told twice.
  if [ "$(id -u)" = 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi
}

# Sets RINGTRAIN_PYTHON, unless it is set, to a Python that has the packages of Tests/requirements.txt: one in .venv.
# Returns 1, and says why, where they can't be installed.
setup_python() {
  [ -z "${RINGTRAIN_PYTHON:-}" ] || return 0
  local folder="$repository/.venv" wanted="$repository/Tests/requirements.txt" python=/usr/bin/python3
  command -v dpkg-query >/dev/null || python=python3
  if ! cmp -s "$wanted" "$folder/installed.txt"; then
    echo "Installing into .venv: $(grep -v '^#' "$wanted" | tr '\n' ' ')"
    if ! { (install_packages python3-venv) && "$python" -m venv "$folder" && "$folder/bin/pip" install -q --only-binary :all: -r "$wanted"; }; then
      echo "Python's packages can't be installed: going on without what needs them"
      return 1
    fi
    cp "$wanted" "$folder/installed.txt"
  fi
  export RINGTRAIN_PYTHON="$folder/bin/python"
}

# Builds a product of this package in release mode, and sets `program` to its path.
build() {
  swift build -c release --package-path "$repository" --product "$1"
  program="$(swift build -c release --package-path "$repository" --show-bin-path)/$1"
}

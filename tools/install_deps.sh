#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages of a group that are missing; does nothing when all are there.
# usage: install_deps.sh build|clang|bench|format|aarch64|browser|python
set -euo pipefail

case ${1:?group} in
  build) packages=(g++ cmake ninja-build make git pkg-config nlohmann-json3-dev libcli11-dev libfmt-dev
                   libpcre2-dev libutf8proc-dev libboost-dev libeigen3-dev libssl-dev libcpp-httplib-dev libyaml-cpp-dev
                   libedit-dev
                   libgtest-dev libsimde-dev libjs-chart.js
                   libopenmpi-dev openmpi-bin python3 python3-pip python3-venv ca-certificates) ;;
  clang) packages=(clang llvm) ;;
  bench) packages=(libbenchmark-dev) ;;
  format) packages=(clang-format) ;;
  browser) packages=(chromium chromium-driver fonts-dejavu-core) ;;
  python) packages=(python3-dev python3-pip python3-venv) ;;
  aarch64) packages=(g++-aarch64-linux-gnu qemu-user) ;;
  *) echo "install_deps.sh: unknown group '$1'" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null; then
  echo "install_deps.sh: not a Debian or Ubuntu system; make sure these are installed: ${packages[*]}" >&2
  exit 0
fi
if [[ $1 == clang ]]; then
  major=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\).*/\1/p' | head -n 1)
  [[ -n $major ]] && packages+=("libclang-rt-$major-dev")
fi
missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
((${#missing[@]} == 0)) && exit 0

sudo=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || { echo "install_deps.sh: run as root or install sudo; missing: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi
echo "Installing: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

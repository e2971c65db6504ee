#!/usr/bin/env bash
# Prints a folder with the aarch64 libraries that qx links with, for cmake/toolchains/aarch64-linux-gnu.cmake. Makes it
# when it is not there: the packages are downloaded and unpacked beside this machine's own, which stay as they are (no
# foreign architecture is added to dpkg, and root is not needed). The archive that apt uses must carry arm64, as
# Debian's does.
# usage: aarch64_sysroot.sh
set -euo pipefail

packages=(libfmt-dev libfmt9 libssl-dev libssl3 libpcre2-dev libpcre2-8-0 libutf8proc-dev libutf8proc2 libgtest-dev
          libyaml-cpp-dev libyaml-cpp0.7 libcpp-httplib-dev libcpp-httplib0.11 libbrotli-dev libbrotli1 zlib1g-dev zlib1g
          libedit-dev libedit2 libbsd0 libmd0 libtinfo6)
cache=${QX_CACHE:-$HOME/.cache/qx}
# A new list or another release of the system is another folder.
release=$(. /etc/os-release && echo "$ID-${VERSION_ID:-rolling}")
root=$cache/aarch64/$release-$(printf '%s ' "${packages[@]}" | cksum | cut -d ' ' -f 1)
if [[ ! -d $root ]]; then
  work=$(mktemp -d "${TMPDIR:-/tmp}/qx-aarch64.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$work"/{lists/partial,cache/archives/partial,debs,root}
  apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State="$work"
       -o Dir::State::lists="$work/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache"
       -o APT::Sandbox::User="$(id -un)")
  # Other archives of this machine may lack the architecture, which is a warning or an error by the version of apt.
  "${apt[@]}" update >&2 || true
  if ! (cd "$work/debs" && "${apt[@]}" download "${packages[@]}" >&2); then
    echo "aarch64_sysroot.sh: the arm64 packages cannot be fetched with apt: ${packages[*]}" >&2
    exit 1
  fi
  for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
  # Some packages still name /lib, which is /usr/lib on the systems that they are for.
  if [[ -d $work/root/lib ]]; then
    cp -a "$work/root/lib/." "$work/root/usr/lib"
    rm -r "$work/root/lib"
  fi
  mkdir -p "$(dirname "$root")"
  # Whole or absent, also when another run was faster.
  copy=$(mktemp -d "$root.XXXXXX")
  cp -a "$work/root/." "$copy"
  mv -T "$copy" "$root" 2>/dev/null || rm -rf "$copy"
fi
echo "$root"

# shellcheck shell=sh
# Sourced by examples/demo.sh and tests/run.sh: Debian packages, installed only
# when they are missing.

package_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# install_packages NAME…: says what it installs; nothing when all are there.
install_packages() {
  if ! command -v apt-get >/dev/null; then
    echo "Not a Debian: this needs the equivalents of $*"
    return 0
  fi
  missing=
  for package; do
    package_installed "$package" || missing="$missing $package"
  done
  [ "$missing" ] || return 0
  echo "Installing:$missing"
  sudo=
  if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Not root, and there is no sudo. As root: apt-get install$missing" >&2
      return 1
    fi
    sudo=sudo
  fi
  apt="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq"
  # shellcheck disable=SC2086 # words to be split
  # A fresh machine has no package lists and an old one has stale ones, so a
  # failure is tried again with new ones.
  $apt install --no-install-recommends $missing >/dev/null 2>&1 ||
    { $apt update && $apt install --no-install-recommends $missing >/dev/null; }
}

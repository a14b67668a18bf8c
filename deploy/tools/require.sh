#!/usr/bin/env bash
# Makes sure that commands are there; installs the missing ones on Debian and Ubuntu.
#
#   require.sh COMMAND...
set -euo pipefail

PATH+=:/usr/sbin:/sbin # not on every user's
packages=()
for command in "$@"; do
  command -v "$command" >/dev/null && continue
  case $command in
    gcc) packages+=(gcc libc6-dev) ;;
    sshd) packages+=(openssh-server) ;;
    sftp) packages+=(openssh-client) ;;
    chromium) packages+=(chromium fonts-liberation) ;;
    *) packages+=("$command") ;; # named like their package
  esac
done
((${#packages[@]})) || exit 0

if ! command -v apt-get >/dev/null; then
  echo "missing: ${packages[*]}. There is no apt-get here: install them and run again." >&2
  exit 1
fi
sudo=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "missing: ${packages[*]}. As root: apt-get install ${packages[*]}" >&2
    exit 1
  fi
  sudo=(sudo)
fi
echo "installing what this target needs and the machine lacks: ${packages[*]}"
quiet=(-qq -o=Dpkg::Use-Pty=0)
"${sudo[@]}" apt-get "${quiet[@]}" update
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get "${quiet[@]}" install --yes --no-install-recommends "${packages[@]}" >/dev/null

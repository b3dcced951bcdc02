#!/bin/sh
# Make sure that a Chromium is installed: the tests of the status page drive a real one, without a window.
#
#     scripts/install_chromium.sh
#
# Does nothing where one is found: named in CHROMIUM, or on the PATH. Otherwise it asks the system's package manager,
# as root or with a sudo that wants no password. Exit 1 says what to install.
set -eu
. "$(dirname "$0")/packages.sh"

find_browser() {
    if [ -n "${CHROMIUM:-}" ]; then
        [ -x "$CHROMIUM" ] || fail "CHROMIUM is $CHROMIUM, which is no program that can be run."
        echo "$CHROMIUM"
        return
    fi
    for name in chromium chromium-browser google-chrome; do
        if command -v $name; then return; fi
    done
}

install_with() {
    case $1 in
    apt-get) apt_install chromium fonts-dejavu-core ;;
    dnf) as_root dnf install -q -y chromium-headless ;;
    brew) brew install --quiet --cask chromium ;;
    esac
}

browser=$(find_browser)
if [ -z "$browser" ]; then
    manager=$(package_manager)
    if [ -n "$manager" ]; then
        echo "Installing chromium with $manager." >&2
        install_with "$manager" >&2 || echo "$manager failed." >&2
        browser=$(find_browser)
    fi
    [ -n "$browser" ] || fail \
        "No Chromium is found, and it could not be installed here. Install one, as one of:" \
        "    Debian 12:  sudo apt-get install chromium" \
        "    Fedora:     sudo dnf install chromium-headless" \
        "or name its program in CHROMIUM."
fi
echo "$browser"

#!/bin/sh
# Make sure that a RabbitMQ server is installed, without starting one: the tests run nodes of their own.
#
#     scripts/install_rabbitmq.sh
#
# Does nothing where a server is found: named in RABBITMQ_SERVER, in /usr/lib/rabbitmq, or on the PATH. Otherwise it
# asks the system's package manager, as root or with a sudo that wants no password. Exit 1 says what to install.
set -eu
. "$(dirname "$0")/packages.sh"

oldest=3.10 # the first that dead-letters without losing messages

find_server() {
    if [ -n "${RABBITMQ_SERVER:-}" ]; then
        [ -x "$RABBITMQ_SERVER" ] || fail "RABBITMQ_SERVER is $RABBITMQ_SERVER, which is no program that can be run."
        echo "$RABBITMQ_SERVER"
        return
    fi
    for candidate in /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server; do
        [ -x "$candidate" ] && newest=$candidate
    done
    echo "${newest:-$(PATH=$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin command -v rabbitmq-server || true)}"
}

# The version is in the name of the folder that the server lies in, wherever it was installed from.
check_version() {
    version=$(readlink -f "$1" 2>/dev/null | sed -n 's|.*rabbitmq_server-\([0-9.]*\)/.*|\1|p; s|.*/rabbitmq/\([0-9.]*\)/.*|\1|p')
    [ -n "$version" ] || return 0
    [ "$(printf '%s\n' "$oldest" "$version" | sort -V | head -n 1)" = "$oldest" ] ||
        fail "$1 is RabbitMQ $version; this needs $oldest or later."
}

install_with() {
    case $1 in
    apt-get)
        without_starting_services
        apt_install rabbitmq-server
        ;;
    dnf) as_root dnf install -q -y rabbitmq-server ;;
    brew) brew install --quiet rabbitmq ;;
    esac
}

# Debian starts a service on install unless this file says no (101). Whatever stood there before comes back.
without_starting_services() {
    policy=/usr/sbin/policy-rc.d
    trap 'restore_policy' EXIT
    trap 'exit 1' HUP INT TERM
    if [ -e $policy ] && [ ! -e $policy.kept ]; then
        as_root mv $policy $policy.kept
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
    as_root chmod 755 $policy
}

restore_policy() {
    as_root rm -f $policy
    if [ -e $policy.kept ]; then
        as_root mv $policy.kept $policy
    fi
}

server=$(find_server)
if [ -z "$server" ]; then
    manager=$(package_manager)
    if [ -n "$manager" ]; then
        echo "Installing rabbitmq-server with $manager; no service is started." >&2
        install_with "$manager" >&2 || echo "$manager failed." >&2
        server=$(find_server)
    fi
    [ -n "$server" ] || fail \
        "No RabbitMQ server is found, and it could not be installed here. Install version $oldest or later, as one of:" \
        "    Debian 12, Ubuntu 24.04 or later:  sudo apt-get install rabbitmq-server" \
        "    Fedora, or RHEL with EPEL:         sudo dnf install rabbitmq-server" \
        "    macOS:                             brew install rabbitmq" \
        "or unpack the generic build and name its sbin/rabbitmq-server in RABBITMQ_SERVER."
fi
check_version "$server"
echo "$server"

# What the scripts that install system packages share; read with `. "$(dirname "$0")/packages.sh"`.

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_be_root() {
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

package_manager() {
    for manager in apt-get dnf; do
        if command -v $manager >/dev/null && may_be_root; then
            echo $manager
            return
        fi
    done
    if command -v brew >/dev/null && [ "$(id -u)" != 0 ]; then # brew refuses root
        echo brew
    fi
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

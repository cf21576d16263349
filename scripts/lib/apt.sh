# shellcheck shell=bash
# Installs missing Debian packages. Sourced by other scripts.

# Daemons such as nginx are in directories that are not in every user's PATH.
PATH=$PATH:/usr/sbin:/sbin

# Installs the packages of each missing command; silent if none is missing. `cc` counts as missing unless it can link a
# program, which cargo needs and rustup does not bring.
# Arguments: COMMAND, COMMAND=PACKAGE or COMMAND=PACKAGE+PACKAGE.
need() {
    local pair packages missing=()
    for pair in "$@"; do
        if [[ $pair == cc ]]; then
            can_link || missing+=(gcc libc6-dev)
        elif ! command -v "${pair%%=*}" >/dev/null; then
            IFS=+ read -ra packages <<<"${pair#*=}"
            missing+=("${packages[@]}")
        fi
    done
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# Whether `cc` finds the C library and what else it takes to link a program.
can_link() {
    local directory status=0
    directory=$(mktemp -d) || return 1
    cc -x c -o "$directory/program" - <<<'int main(void) { return 0; }' 2>/dev/null || status=1
    rm -rf "$directory"
    return $status
}

# Installs Debian packages. RUNLEVEL=1 keeps Debian from starting services, except under systemd.
#
# An earlier installation may have been interrupted: it may still be running, so each step waits for its locks, or it
# has left packages that are unpacked but not configured.
install_packages() {
    local as_root=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1) attempt
    local install=(apt-get install -o DPkg::Lock::Timeout=120 -y -qq --no-install-recommends)
    if ! command -v apt-get >/dev/null; then
        echo "missing: $*; apt-get is not available; install them by other means and run this again" >&2
        return 1
    fi
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "missing: $*; run \`apt-get install $*\` as root, then run this again" >&2
            return 1
        fi
        as_root=(sudo "${as_root[@]}")
    fi
    echo "installing from Debian: $*"
    for attempt in 1 2 3 4 0; do
        ! "${as_root[@]}" apt-get update -qq || break
        ((attempt)) || { echo "apt-get could not read the lists of packages; its message is above" >&2; return 1; }
        sleep 5
    done
    "${as_root[@]}" "${install[@]}" "$@" >/dev/null || {
        "${as_root[@]}" dpkg --configure -a >/dev/null || true
        "${as_root[@]}" "${install[@]}" --fix-broken "$@" >/dev/null
    } || { echo "apt-get could not install $*; its message is above" >&2; return 1; }
}

# shellcheck shell=bash
# Installs missing Debian packages. Sourced by other scripts.

# Daemons such as nginx are in directories that are not in every user's PATH.
PATH=$PATH:/usr/sbin:/sbin

# Installs the package of each missing command; silent if none is missing. RUNLEVEL=1 keeps Debian from starting
# services, except under systemd.
# Arguments: COMMAND or COMMAND=PACKAGE.
need() {
    local pair missing=() as_root=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    if ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]}; apt-get is not available; install them by other means and run this again" >&2
        return 1
    fi
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "missing: ${missing[*]}; run \`apt-get install ${missing[*]}\` as root, then run this again" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    echo "installing from Debian: ${missing[*]}"
    if ! { ${as_root[@]+"${as_root[@]}"} apt-get update -qq &&
        ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; }; then
        echo "apt-get could not install ${missing[*]}; its message is above" >&2
        return 1
    fi
}

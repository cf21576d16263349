# shellcheck shell=bash
# Installs what a script needs from Debian's packages. Sourced by scripts/demo and scripts/test.

# The places of daemons such as nginx are not in every user's path.
PATH=$PATH:/usr/sbin:/sbin

# Installs each package whose command is not there; does nothing, and says nothing, if all are. No service is started
# for it, but where systemd runs.
# Arguments: COMMAND or COMMAND=PACKAGE.
need() {
    local pair missing=() as_root=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    if ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]}; there is no apt-get here, so install them by other means and run this again" >&2
        return 1
    fi
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "missing: ${missing[*]}; run \`apt-get install ${missing[*]}\` as root, then this again" >&2
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

#!/usr/bin/env bash
# Prepares this checkout: system packages, uv, then .venv with the versions of requirements.txt.
#   scripts/setup.sh          what `make` calls; does nothing when all is up to date
#   scripts/setup.sh browser  installs Chromium, which `make test-slow` looks at pages with; without it those tests are skipped
#   scripts/setup.sh lock     writes requirements.txt anew (further arguments go to `uv pip compile`)
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.8
STAMP=.venv/.ready
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

up_to_date() {
    local file
    for file in pyproject.toml requirements.txt scripts/setup.sh; do
        [[ $STAMP -nt $file ]] || return 1
    done
}

find_python() { # prints a Python >= 3.11, or fails
    local name
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        "$name" -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)' 2>/dev/null && return
    done
    return 1
}

has_uv() { uv --version >/dev/null 2>&1; }

missing_packages() { # prints Debian names, for what ffcv needs to build and opencv-python to run
    local libraries python version
    libraries=$(/sbin/ldconfig -p 2>/dev/null || true)
    command -v g++ >/dev/null || echo g++
    command -v pkg-config >/dev/null || echo pkg-config
    pkg-config --exists opencv4 2>/dev/null || echo libopencv-dev
    pkg-config --exists libturbojpeg 2>/dev/null || echo libturbojpeg0-dev
    [[ $libraries == *libGL.so.1* ]] || echo libgl1
    [[ $libraries == *libgthread-2.0.so.0* ]] || echo libglib2.0-0

    python=$(find_python || command -v python3) || { echo python3 python3-venv python3-dev; return; }
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    has_uv || "$python" -c 'import ensurepip' 2>/dev/null || echo "$version-venv"
    find_python >/dev/null || return 0 # uv will bring a newer Python, with its headers
    [[ -e $("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]] || echo "$version-dev"
}

as_root() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo "$@"; fi
}

apt_get() {
    as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
        apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >/dev/null 9>&-
}

install_system_packages() {
    local missing
    if [[ $(uname -s) != Linux ]]; then
        say "not Linux: ffcv is left out; install Python >= 3.11 (for instance: brew install python) if it is missing"
        return
    fi
    missing=$(missing_packages | xargs)
    [[ -n $missing ]] || return 0
    if ! command -v apt-get >/dev/null; then
        say "not Debian or Ubuntu: install what your system calls $missing"
        return
    fi
    if [[ $(id -u) != 0 ]] && ! command -v sudo >/dev/null; then
        die "neither root nor sudo: have someone run: apt-get install $missing"
    fi
    say "installing system packages (a few minutes): $missing"
    apt_get update || say "apt-get update failed; trying with the lists that are here"
    if [[ $(LC_ALL=C apt-cache policy libturbojpeg0-dev) != *Candidate:\ [0-9]* ]]; then
        missing=${missing/libturbojpeg0-dev/libturbojpeg-dev}
    fi
    # shellcheck disable=SC2086
    apt_get install -y --no-install-recommends $missing || die "could not install: $missing"
    missing=$(missing_packages | xargs)
    [[ -z $missing ]] || die "still missing after the installation: $missing"
}

install_browser() {
    local name
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null && return
    done
    if ! command -v apt-get >/dev/null || { [[ $(id -u) != 0 ]] && ! command -v sudo >/dev/null; }; then
        say "no Chromium: the tests of pages in a browser are skipped"
        return
    fi
    say "installing Chromium for the tests of pages"
    apt_get update || true
    apt_get install -y --no-install-recommends chromium || say "could not install chromium: its tests are skipped"
}

prepare_uv() { # sets UV
    UV=uv
    has_uv && return
    UV=.uv/bin/uv
    [[ $("$UV" --version 2>/dev/null) == "uv $UV_VERSION"* ]] && return
    say "installing uv $UV_VERSION into .uv"
    "$(find_python || echo python3)" -m venv --clear .uv
    .uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
}

uv_install() { # uv_install sync|install ARGUMENTS...
    local quiet=--quiet
    [[ -t 2 ]] && quiet= # progress bars on a terminal only
    # ffcv is built from source: with the locked setuptools
    "$UV" pip "$1" ${quiet:+"$quiet"} --python .venv/bin/python --build-constraints requirements.txt "${@:2}"
}

make_venv() {
    # A .venv without its stamp was interrupted: uv cannot tell a half-copied package from a whole one.
    if [[ -e $STAMP ]] && .venv/bin/python -c '' 2>/dev/null; then
        say "bringing .venv up to date"
    else
        say "making .venv (torch is large: a few minutes the first time)"
        rm -rf .venv
        "$UV" venv --quiet --python "$(find_python || echo 3.13)" .venv ||
            die "no Python >= 3.11 here, and uv could not fetch one: install python3.11 or newer"
    fi
    rm -f "$STAMP"
    touch .venv/.started
    uv_install sync requirements.txt || die "could not install requirements.txt; call make again to go on"
    uv_install install --no-deps --editable .
    if [[ $(uname -s) == Linux ]] && ! .venv/bin/python -c 'import cv2, ffcv' 2>/dev/null; then
        say "the cached build of ffcv does not load here: building it again"
        uv_install install --no-deps --no-cache --reinstall-package ffcv "$(grep -o '^ffcv==[^ ;]*' requirements.txt)"
        .venv/bin/python -c 'import cv2, ffcv' || die "ffcv does not load (see above)"
    fi
    mv .venv/.started "$STAMP" # its time is that of the start: an edit made meanwhile counts as newer
}

exec 9>.setup.lock
if command -v flock >/dev/null; then
    flock --nonblock 9 || { say "waiting for another set-up of this checkout"; flock 9; }
fi

if [[ ${1:-} == lock ]]; then
    install_system_packages
    prepare_uv
    "$UV" pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 \
        --no-annotate --no-header -o requirements.txt "${@:2}"
    say "requirements.txt is written"
elif [[ ${1:-} == browser ]]; then
    install_browser
elif ! up_to_date; then
    install_system_packages
    prepare_uv
    make_venv
    say "ready"
fi

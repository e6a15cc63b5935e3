#!/usr/bin/env bash
# benchmarks/gpu.py on a borrowed machine with a GPU and torch, but without network, in two calls of ten minutes.
#
#   bash scripts/gpu.sh prepare DATA   here: DATA has unpack.py, cifar100-*.xz and cifar100-class-names.json
#   bash scripts/gpu.sh 1 [OUT]        there, with .gpu1/: speed, which needs no data
#   bash scripts/gpu.sh 2 [OUT] [...]  there, with .gpu2/ and the .gpu1/ of the first call: CIFAR-100 (--graph: with CUDA graphs)
#   bash scripts/gpu.sh epsd [OUT]     there, with both: pruned students (EPSD), in place of 2
#
# .gpu1/ and .gpu2/ are git-ignored, and below 64 MiB each. Rows are in OUT/gpu.rows.jsonl, by default ./gpu-out.
set -euo pipefail
cd "$(dirname "$0")/.."

prepare() {
    local data=$1 python wheels=.gpu1/wheels
    rm -rf .gpu1 .gpu2
    mkdir -p .gpu1 .gpu2 "$wheels"
    cp "$data/unpack.py" "$data/cifar100-class-names.json" "$data/cifar100-train0.xz" .gpu1/
    cp "$data/cifar100-train1.xz" "$data/cifar100-test.xz" .gpu2/
    for python in 3.11 3.12 3.13; do
        python3 -m pip download --quiet --disable-pip-version-check --dest "$wheels" --only-binary=:all: \
            --python-version "$python" --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 \
            pydantic tomli-w filelock
    done
    chmod -R u+w .gpu1 .gpu2
    du -sm .gpu1 .gpu2
}

install_wheels() { # into a folder of their own: the machine's python is left alone
    export PYTHONPATH="$PWD:$PWD/.gpu1/site${PYTHONPATH:+:$PYTHONPATH}" DPRUNE_DATA="$PWD/.gpu1/data"
    python3 -c "import pydantic, tomli_w, filelock" 2>/dev/null ||
        python3 -m pip install --quiet --disable-pip-version-check --no-index --find-links .gpu1/wheels \
            --target .gpu1/site pydantic tomli-w filelock
    python3 -c "import sys, torch; print(sys.version.split()[0], torch.__version__, torch.cuda.is_available())"
}

case "${1:-}" in
prepare)
    prepare "${2:?the folder of the packed data}"
    ;;
1)
    install_wheels
    exec python3 -m benchmarks.gpu speed --out "${2:-gpu-out}" "${@:3}"
    ;;
2 | epsd)
    install_wheels
    cp -n .gpu2/*.xz .gpu1/
    mkdir -p .gpu1/data
    [ -f .gpu1/data/cifar100.npz ] || python3 .gpu1/unpack.py .gpu1/data --only cifar100 --pieces .gpu1
    exec python3 -m benchmarks.gpu "${1/#2/data}" --out "${2:-gpu-out}" "${@:3}"
    ;;
*)
    sed -n '2,9p' "$0"
    exit 2
    ;;
esac

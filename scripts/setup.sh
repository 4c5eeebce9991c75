#!/usr/bin/env bash
# Makes .venv: the package in editable form with its extras and the development tools, at the versions of
# constraints.txt. `make` calls it when that file, pyproject.toml or this script is newer than the environment.
# Set PYTHON to choose the interpreter; by default the first one of 3.11 or later is taken.
set -euo pipefail
cd "$(dirname "$0")/.."

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

python=
for candidate in ${PYTHON:-python3 python3.12 python3.11 python}; do
    if fits "$candidate"; then
        python=$candidate
        break
    fi
done
if [[ -z $python ]]; then
    echo "setup: no Python of 3.11 or later among: ${PYTHON:-python3 python3.12 python3.11 python}; set PYTHON" >&2
    exit 1
fi

packages=(--constraint constraints.txt --editable '.[hf,onnx,ray,serve,transformers]' --group dev)

# uv does not read pip's settings. A folder of wheels that pip is told of, for example of a CPU build of torch, must
# reach it by hand; without one, uv chooses the build of torch that fits this machine.
with_uv() {
    local wheels folder arguments=(--quiet --python .venv "${packages[@]}")
    wheels=${PIP_FIND_LINKS:-$("$python" -m pip config get global.find-links 2>/dev/null)}
    for folder in $wheels; do
        arguments+=(--find-links "$folder")
    done
    [[ -n $wheels ]] || export UV_TORCH_BACKEND=${UV_TORCH_BACKEND:-auto}
    uv venv --quiet --allow-existing --python "$python" .venv && uv pip install "${arguments[@]}"
}

with_pip() {
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --upgrade 'pip>=25.1' # the first that knows --group
    .venv/bin/python -m pip install --quiet --no-compile "${packages[@]}"
}

# The tests of pages need a browser. Without root, or without apt, they are skipped, unless CI is set: then they fail.
with_browser() {
    if command -v chromium chromium-browser google-chrome >/dev/null; then return; fi
    if ! command -v apt-get >/dev/null || ((EUID != 0)); then return; fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >/dev/null &&
        apt-get -qq install --no-install-recommends chromium fonts-noto-cjk >/dev/null
}

with_browser || echo "setup: apt could not install chromium (see above); the tests of pages need it" >&2

if command -v uv >/dev/null; then
    with_uv && exit
    echo "setup: uv could not make the environment (see above); trying pip, which has settings of its own" >&2
fi
with_pip

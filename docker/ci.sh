#!/usr/bin/env bash
# Build the images and test them, the pipeline in containers included.
#
# Where no engine answers, root on Debian gets one for the while, in a folder of its own that goes
# with it, and a base image by debootstrap where none can be pulled. Wheels are fetched once, by
# this machine's pip, and the images are built of them without a network. Where there is no way to
# an engine, the tests are skipped and say so.
set -euo pipefail
cd "$(dirname "$0")/.."
export BASE=${BASE:-python:3.11-slim-bookworm} DOCKER=${DOCKER:-docker}

engine_answers() { "$DOCKER" info >/dev/null 2>&1; }

install_engine() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq &&
        apt-get install -qq -y --no-install-recommends docker.io debootstrap >/dev/null || return
    # Of two clients, Debian's is the one that builds without a plugin.
    "$DOCKER" buildx version >/dev/null 2>&1 || DOCKER=/usr/bin/docker
    engine_answers || start_engine
}

start_engine() {
    folder=$(mktemp -d)
    trap stop_engine EXIT
    export DOCKER_HOST=unix://$folder/docker.sock
    dockerd --host "$DOCKER_HOST" --data-root "$folder/data" --exec-root "$folder/exec" \
        --pidfile "$folder/pid" --bridge none --iptables=false >"$folder/log" 2>&1 &
    engine=$!
    for _ in $(seq 60); do
        engine_answers && return
        sleep 0.5
    done
    tail -n 5 "$folder/log" >&2
    return 1
}

stop_engine() {
    kill "$engine" && wait "$engine" || true
    rm -rf "$folder"
}

make_base() {
    local root
    root=$(mktemp -d)
    debootstrap --variant=minbase \
        --include=python3,python3-venv,python3-pip,ca-certificates,libnuma1 bookworm "$root" >/dev/null &&
        tar -C "$root" -c . | "$DOCKER" import - "$BASE" >/dev/null
    local made=$?
    rm -rf "$root"
    return $made
}

have_base() {
    "$DOCKER" image inspect "$BASE" >/dev/null 2>&1 ||
        timeout 120 "$DOCKER" pull --quiet "$BASE" 2>/dev/null || make_base
}

if { engine_answers || install_engine; } && have_base; then
    make wheels
    make wheels-vllm VARIANT=cpu
    PIP_NO_INDEX=1 make images image-vllm VARIANT=cpu DOCKER_FLAGS='--network none --quiet'
    "$DOCKER" images --format '{{.Repository}}:{{.Tag}} {{.Size}}' | grep '^dgr-'
    make sbom IMAGES="$("$DOCKER" images --format '{{.Repository}}:{{.Tag}}' | sed -n 's/^dgr-//p' | tr '\n' ' ')"
    make test-images
else
    echo "no container engine or no base image can be had here: the images are not tested"
    "${VENV:-.venv}/bin/pytest" tests/docker
fi

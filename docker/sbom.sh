#!/usr/bin/env bash
# List the Python packages of an image: docker/sbom.sh VENV_BIN DOCKER IMAGE OUT
#
# The packages' own metadata is taken out of the image into an empty environment, which
# cyclonedx-py then reads: the image needs no tool for it.
set -euo pipefail
bin=$1 docker=$2 image=$3 out=$4

folder=$(mktemp -d)
container=$("$docker" create "$image")
trap '"$docker" rm "$container" >/dev/null; rm -rf "$folder"' EXIT
"$bin/python" -m venv --without-pip "$folder"
"$docker" cp "$container:/opt/dgr/lib" - | tar -x -C "$folder" --wildcards '*.dist-info/*'
"$bin/cyclonedx-py" environment --output-reproducible --mc-type application \
    --pyproject pyproject.toml --output-file "$out" "$folder"

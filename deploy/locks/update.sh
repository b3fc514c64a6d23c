#!/bin/sh
# Resolves the locked dependencies anew: update.sh UV
# One lock per audience, with hashes and without index URLs. The development set is resolved first
# and constrains the others, so that what is tested is what runs.
set -eu
uv=$1
locks=deploy/locks
lock() {
    "$uv" pip compile --quiet --universal --generate-hashes --python-version 3.10 \
        --no-annotate --no-header "$@"
}
lock pyproject.toml --extra controller --extra text --group dev --output-file "$locks/dev.txt"
lock pyproject.toml --extra controller --group build --constraint "$locks/dev.txt" \
    --output-file "$locks/controller.txt"
lock pyproject.toml --constraint "$locks/dev.txt" --output-file "$locks/agent.txt"
lock --group build --constraint "$locks/dev.txt" --output-file "$locks/build.txt"

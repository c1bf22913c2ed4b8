#!/usr/bin/env bash
# Write requirements.lock: the versions pip chooses for all extras, without hashes (the CPU and the
# CUDA builds of torch share a version) and without the address of any package index.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --no-compile torch==2.13.0 hatchling editables
"$folder/bin/python" -m pip install --quiet --no-compile torch==2.13.0 -e ".[train,render,hub,htr,storage,flyte,dev]"
{
  echo "# Written by 'make lock'. The environment of 'make setup': the core and all extras."
  "$folder/bin/python" -m pip freeze --exclude-editable | sed -E 's/\+cpu$//' | grep -vE '^(pip|setuptools)=='
} > requirements.lock

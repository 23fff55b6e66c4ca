#!/usr/bin/env bash
# Static types of the library and its plug-ins, in mypy's strict mode.
set -euo pipefail
cd "$(dirname "$0")/.."

mypy

#!/usr/bin/env bash
# The documentation as a site, in build/site; a broken link fails. What its pages compute is checked by the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

NO_MKDOCS_2_WARNING=1 python -m mkdocs build --quiet --config-file ci/mkdocs.yml

#!/usr/bin/env bash
# Every GPU test and benchmark, in one command within ten minutes; prints tables and leaves the rows as JSON in OUT
# (default: benchmarks/results/gpu). Needs an environment in which musclewarp imports and torch sees a GPU
# (PYTHON=python3 to choose one).
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
OUT=${OUT:-benchmarks/results/gpu}
export PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH}

"$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available() and "no CUDA device: nothing to measure")' || exit 1
mkdir -p "$OUT"
status=0
bench() { # NAME ARGUMENTS...
    "$PYTHON" -m musclewarp.cli bench "${@:2}" --device cuda --json "$OUT/$1.json" || { status=1; return; }
    "$PYTHON" - "$OUT/$1.json" <<'PYTHON'
import json
import sys
from pathlib import Path

from musclewarp.bench import print_rows

print_rows(json.loads(Path(sys.argv[1]).read_text()), None)
PYTHON
}
"$PYTHON" -m pytest -q -m gpu tests || status=1
bench full_body env --model myofullbody --worlds 512 2048 8192 16384 --seconds 10
bench full_body_2ms env --model myofullbody --worlds 8192 --timestep 0.002 --substeps 5 --seconds 10
bench arms env --model bimanual --worlds 512 4096 16384 --seconds 5
bench fingers engine --model myofullbody --fingers --worlds 4096 --seconds 5
exit $status

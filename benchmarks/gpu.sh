#!/usr/bin/env bash
# Every GPU test and benchmark, in one command; prints a table and appends JSON lines to benchmarks/results/gpu.jsonl.
# Needs an environment in which musclewarp imports and torch sees a GPU (PYTHON=python3 to choose one).
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
export PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH}

"$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available() and "no CUDA device: nothing to measure")' || exit 1
status=0
"$PYTHON" -m pytest -q -m gpu tests || status=1
for model in bimanual myofullbody; do
    for worlds in 1024 4096 8192; do
        "$PYTHON" benchmarks/warp_speed.py --model "$model" --worlds "$worlds" --device cuda \
            --append benchmarks/results/gpu.jsonl || status=1
    done
done
exit $status

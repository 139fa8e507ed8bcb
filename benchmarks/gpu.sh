#!/usr/bin/env bash
# What a GPU is for, in parts that take less than ten minutes each:
#
#   benchmarks/gpu.sh tests          the GPU tests
#   benchmarks/gpu.sh speed          engine and environment beside bare stepping, by the number of worlds
#   benchmarks/gpu.sh training       training of configs/walk_gpu.yaml: frames/s, physics steps/s, simulated s/s, shares
#   benchmarks/gpu.sh walk REFS RUN  a piece of that training itself, MINUTES (9) long; the same again goes on
#   benchmarks/gpu.sh                tests, speed and training
#
# Prints tables and leaves the rows as JSON in OUT (default: benchmarks/results/gpu). Needs an environment in which
# musclewarp imports and torch sees a GPU (PYTHON=python3 to choose one). DEVICE=cpu WORLDS=4 STEPS=0.005x4 SECONDS_EACH=1 tries
# the script out where there is none.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
OUT=${OUT:-benchmarks/results/gpu}
DEVICE=${DEVICE:-cuda}
WORLDS=${WORLDS:-512 2048 8192 16384}
STEPS=${STEPS:-0.005x4 0.002x5}
SECONDS_EACH=${SECONDS_EACH:-10}
export PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH}
status=0

bench() { # NAME ARGUMENTS...
    "$PYTHON" -m musclewarp.cli bench "${@:2}" --device "$DEVICE" --json "$OUT/$1.json" || { status=1; return; }
    "$PYTHON" - "$OUT/$1.json" <<'PYTHON'
import json
import sys
from pathlib import Path

from musclewarp.bench import print_rows

print_rows(json.loads(Path(sys.argv[1]).read_text()), None)
PYTHON
}

tests() {
    "$PYTHON" -m pytest -q -m gpu tests || status=1
}

speed() {
    local step largest=${WORLDS##* }
    # shellcheck disable=SC2086 # numbers of worlds are words
    bench full_body env --model myofullbody --worlds $WORLDS --seconds "$SECONDS_EACH"
    for step in $STEPS; do
        bench "full_body_$step" env --model myofullbody --worlds "$((largest < 8192 ? largest : 8192))" \
            --timestep "${step%x*}" --substeps "${step#*x}" --seconds "$SECONDS_EACH"
    done
    # shellcheck disable=SC2086
    bench arms env --model bimanual --worlds $WORLDS --seconds "$SECONDS_EACH"
    bench fingers engine --model myofullbody --fingers --worlds "$((largest < 4096 ? largest : 4096))" --seconds "$SECONDS_EACH"
}

training() {
    local few=()
    [ "$DEVICE" = cuda ] || few=(--worlds "${WORLDS##* }")
    # shellcheck disable=SC2086
    "$PYTHON" benchmarks/training.py configs/walk_gpu.yaml --device "$DEVICE" "${few[@]}" --steps $STEPS \
        --seconds "$((4 * SECONDS_EACH))" --json "$OUT/training.json" || status=1
}

walk() { # REFS RUN FURTHER OPTIONS...
    "$PYTHON" -m musclewarp.train fit --config configs/walk_gpu.yaml --env.references "$1" --out "$2" \
        --checkpoint.keep 1 --trainer.max_time "00:00:$(printf %02d "${MINUTES:-9}"):00" "${@:3}" || status=1
    sed -n '1p;$p' "$2/metrics.csv"
}

case "${1:-all}" in
all | tests | speed | training) ;;
walk) [ $# -ge 3 ] || { echo "give references and a folder for the run: benchmarks/gpu.sh walk REFS RUN" >&2; exit 2; } ;;
*) sed -n '2,12p' "$0"; exit 2 ;;
esac
if [ "$DEVICE" = cuda ]; then
    "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available() and "no CUDA device: nothing to measure")' || exit 1
fi
mkdir -p "$OUT"
case "${1:-all}" in
all) tests; speed; training ;;
*) "$@" ;;
esac
exit $status

#!/usr/bin/env bash
# G1: profile cpu (8x8 digits, SiT-Nano/2) as ensembles on one GPU: as many seeds of many cells as fit the time.
#
#   scripts/gpu_ensemble.sh [--minutes 9] [--seeds 20] [--cells a,b] [--out build/gpu] [--rehearse]
#
# Writes OUT/ensemble/: results.jsonl, report.json, log.txt. --rehearse: toy size, on the CPU. Further arguments after
# -- go to python -m disperse.experiments.ensemble (such as: -- --commit 1a2b3c --set precision=bf16).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/gpu_common.sh

minutes=9 seeds=20 out="${OUT:-build/gpu}" rehearse=False
# Those of docs/rules.md that are judged at one size of SiT: 33 cells.
cells=E4,E7-variants,E7-contrastive,E7-blocks,E7-lambda-tau
while [ $# -gt 0 ]; do
  case "$1" in
    --minutes|--seeds|--cells|--out) [ $# -gt 1 ] || fail "$1: expected a value"; declare "${1#--}=$2"; shift 2 ;;
    --rehearse) rehearse=True; shift ;;
    --) shift; break ;;
    *) fail "$1: expected --minutes, --seeds, --cells, --out or --rehearse" ;;
  esac
done

choose_python "$rehearse"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
device=cuda
size=(--profile cpu --members 495)  # 15 seeds of the 33 cells: as many as one call takes
if [ "$rehearse" = True ]; then
  device=cpu seeds=2
  cells=baseline,infonce-l2,infonce-l2-restricted
  size=(--profile smoke --steps 12 --members 4 --keep 1)
fi
mkdir -p "$out/ensemble"
describe_machine
"$PYTHON" -m disperse.experiments.ensemble "${size[@]}" --cells "$cells" --seeds "$seeds" --minutes "$minutes" \
  --device "$device" --out "$out/ensemble" "$@" 2>&1 | tee "$out/ensemble/log.txt"

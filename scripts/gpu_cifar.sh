#!/usr/bin/env bash
# G2: CIFAR-10 at 32x32, SiT-S/4, 10,000 steps of 256 in bf16, two seeds of baseline and infonce-l2, as one ensemble.
#
#   scripts/gpu_cifar.sh --data FOLDER [--minutes 9] [--steps 10000] [--seeds 2] [--out build/gpu] [--rehearse]
#
# FOLDER holds CIFAR-10 as docs/running.md says. Writes OUT/cifar/: results.jsonl, report.json, log.txt. When the time is up,
# the members are measured at the step that they have reached. --rehearse: toy size, on the CPU. Further arguments
# after -- go to python -m disperse.experiments.ensemble.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/gpu_common.sh

minutes=9 steps=10000 seeds=2 data="" out="${OUT:-build/gpu}" rehearse=False
while [ $# -gt 0 ]; do
  case "$1" in
    --data|--minutes|--steps|--seeds|--out) [ $# -gt 1 ] || fail "$1: expected a value"; declare "${1#--}=$2"; shift 2 ;;
    --rehearse) rehearse=True; shift ;;
    --) shift; break ;;
    *) fail "$1: expected --data, --minutes, --steps, --seeds, --out or --rehearse" ;;
  esac
done
[ -n "$data" ] || fail "--data: name the folder that holds CIFAR-10"
[ -d "$data" ] || fail "--data $data: no such folder"

choose_python "$rehearse"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 DISPERSE_DATA="$data"
device=cuda
size=(--set model=SiT-S/4 --steps "$steps" --tail 110)
if [ "$rehearse" = True ]; then
  device=cpu
  tiny='{"input_size": 32, "in_channels": 3, "num_classes": 10, "depth": 2, "hidden_size": 16, "num_heads": 2}'
  size=(--set model=SiT-S/4 --set "overrides=$tiny" --steps 4 --samples 20)
fi
mkdir -p "$out/cifar"
describe_machine
"$PYTHON" -c 'from disperse.data import load_data; print("images:", *(len(load_data("cifar10", s)) for s in ("train", "held-out")))'
"$PYTHON" -m disperse.experiments.ensemble --profile gpu --cells baseline,infonce-l2 --seeds "$seeds" "${size[@]}" \
  --minutes "$minutes" --device "$device" --out "$out/cifar" "$@" 2>&1 | tee "$out/cifar/log.txt"

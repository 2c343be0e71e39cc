#!/usr/bin/env bash
# The machinery of `make study` in a few steps: all its runs and pictures, and that a second call makes nothing again.
#   study_test.sh PHALANX
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 bench/hybrid_study --quick --phalanx "$1" --folder "$folder" > /dev/null 2> "$folder/log" || { tail -n 5 "$folder/log"; exit 1; }
for model in transformer mamba1 mamba2 hybrid; do
  grep -q "^| $model | " "$folder/report.md"
  [ -f "$folder/$model/long/checkpoints/step_10/manifest.json" ]
done
# Every picture that the report shows lies beside it.
grep -o '([a-z0-9_]*\.svg)' "$folder/report.md" | tr -d '()' | while read -r picture; do [ -s "$folder/$picture" ]; done
[ "$(grep -c 'svg)' "$folder/report.md")" = 8 ]
before=$(stat -c %Y "$folder/hybrid/long.json")
python3 bench/hybrid_study --quick --phalanx "$1" --folder "$folder" > /dev/null 2>&1
[ "$(stat -c %Y "$folder/hybrid/long.json")" = "$before" ]

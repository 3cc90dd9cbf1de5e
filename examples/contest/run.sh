#!/usr/bin/env bash
# The contest from first to last, in a folder with train.csv, dev.csv and test.csv: README.md tells of the steps.
# Whatever is done is kept; after Ctrl-C or a crash, the same command goes on from there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

once() { # OUTPUT COMMAND...: keep what the command prints, unless it is there already
  [ -e "$1" ] || { "${@:2}" > "$1.part" && mv "$1.part" "$1"; }
}
of_json() { # FILE EXPRESSION: what an expression makes of the document `it`
  python -c 'import json, sys; it = json.load(open(sys.argv[1], encoding="utf-8")); print(*eval(sys.argv[2]), sep="\n")' "$@"
}

once screening.json dialsum screen --config "$here/screen.yaml" --json
once finetuning.json dialsum finetune --config "$here/finetune.yaml" --json

# The three best on dev, the best one first.
mapfile -t runs < <(of_json finetuning.json '[run["run_dir"] for run in
  sorted((run for run in it["runs"] if run["status"] == "ok"), key=lambda run: -run["after"]["final_score"])][:3]')
once tuning.json dialsum tune --config "$here/tune.yaml" --model "${runs[0]}" --json
best=$(of_json tuning.json '[it["stages"][0]["best"]]')

dev=() test=()
for number in "${!runs[@]}"; do
  options=(--config "$here/predict.yaml" --model "${runs[$number]}")
  [ "$number" -gt 0 ] || options=(--config "$best")
  for split in dev test; do
    [ -e "$split-$number.csv" ] || dialsum predict "${options[@]}" --data "$split.csv" --output "$split-$number.csv"
  done
  dev+=("dev-$number.csv") test+=("test-$number.csv")
done

# Hand in the ensemble only where it is better on dev by more than chance.
verdict="do not ensemble"
if [ "${#runs[@]}" -gt 1 ]; then
  once ensembling.json dialsum ensemble "${dev[@]}" --config "$here/ensemble.yaml" --gold dev.csv \
    --output dev-ensemble.csv --overwrite --json
  verdict=$(of_json ensembling.json '[it["verdict"]]')
fi
if [ "$verdict" = ensemble ]; then
  dialsum ensemble "${test[@]}" --config "$here/ensemble.yaml" --output submission.csv --overwrite
else
  cp test-0.csv submission.csv
fi
dialsum check submission.csv --config "$here/check.yaml"

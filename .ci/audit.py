"""Known vulnerabilities of the packages in requirements.lock: exit code 1 if there is one that is
not allowed below.

pip-audit looks them up at the index. Where that does not answer, or knows no vulnerabilities, this
says so and fails nothing: a build must not depend on it.
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
# Vulnerability to why it does no harm here. To be looked through whenever the lock is made anew.
ALLOWED = {
    "GHSA-wj6h-64fc-37mp": "ecdsa, whose signing leaks its key by its timing: it comes with "
    "python-jose, which has only HMAC to do here (Settings.ALGORITHM takes nothing else, and "
    "accounts/tokens.py fixes it). It goes when python-jose goes: "
    "docs/decisions/0016-python-jose.md.",
}


def verdict(report: Mapping[str, Any]) -> tuple[list[str], int]:
    """What is not allowed, a line each; and how many packages could be looked up."""
    wrong = [
        f"{package['name']} {package['version']}: {found['id']}, "
        f"fixed in {', '.join(found['fix_versions']) or 'no version yet'}"
        for package in report["dependencies"]
        for found in package.get("vulns", ())
        if not ALLOWED.keys() & {found["id"], *found["aliases"]}
    ]
    return wrong, sum("vulns" in package for package in report["dependencies"])


def look_up(lock: Path) -> Mapping[str, Any] | None:
    """pip-audit's report; None if it could make none."""
    with tempfile.NamedTemporaryFile("r") as file:
        argv = [ROOT / ".venv/bin/uv", "tool", "run", PIP_AUDIT, "--format=json"]
        argv += ["--require-hashes", "--disable-pip", "--progress-spinner=off"]
        argv += [f"--output={file.name}", f"--requirement={lock}"]
        try:
            subprocess.run(argv, check=False, timeout=TIMEOUT_S)  # noqa: S603  # ours
            report: Mapping[str, Any] = json.load(file)
        except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError):
            return None
    return report


def main(lock: Path) -> int:
    report = look_up(lock)
    if report is None:
        print("audit: the index does not answer; nothing was looked up.")
        return 0
    wrong, audited = verdict(report)
    print(f"audit: {audited} of {len(report['dependencies'])} packages could be looked up.")
    for line in wrong:
        print(f"audit: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "requirements.lock"))

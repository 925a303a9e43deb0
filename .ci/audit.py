"""Fail where pip-audit's report (JSON, on standard input) names a vulnerability; say so where it could not look any up."""

import json
import sys

try:
    packages = json.load(sys.stdin)["dependencies"]
except (ValueError, KeyError):
    packages = []
looked_up = [package for package in packages if "skip_reason" not in package]
if not looked_up:
    print("skipped: pip-audit could not reach its data")
    raise SystemExit(0)
found = [
    f"{package['name']} {package['version']}: {problem['id']}, mended in {', '.join(problem['fix_versions']) or 'no version yet'}"
    for package in looked_up
    for problem in package["vulns"]
    if package["name"] not in ("pip", "setuptools")  # the environment's, not ours
]
print("\n".join(found) or f"no known vulnerability in {len(looked_up)} packages")
raise SystemExit(bool(found))

"""Print the lowest versions that pyproject.toml admits for what the package needs to run, one requirement a line.

``--name NAME`` prints that one requirement as pyproject.toml has it instead.
"""

import re
import sys
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]

if "--name" in sys.argv:
    name = sys.argv[sys.argv.index("--name") + 1]
    print(next(entry for group in extras.values() for entry in group if entry.startswith(name)))
else:
    for entry in [*project["dependencies"], *extras["cli"]]:
        print(re.sub(r">=([^,;]+).*", r"==\1", entry))

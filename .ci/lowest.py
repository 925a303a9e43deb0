"""Print the lowest versions that pyproject.toml admits for what the package needs to run, one requirement a line."""

import re
from pathlib import Path

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
for entry in [*project["dependencies"], *project["optional-dependencies"]["cli"]]:
    print(re.sub(r">=([^,;]+).*", r"==\1", entry))

"""Another tool's flags on a folder of pictures, for `quality.py`.

Runs in the environment of that tool: `python quality_rivals.py FOLDER` prints JSON, the names of
the flagged pictures by check, as the tool is delivered.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    from cleanvision import Imagelab

    folder = Path(sys.argv[1])
    lab = Imagelab(data_path=str(folder))
    lab.find_issues()
    found = {}
    for column in lab.issues.columns:
        if column.startswith("is_") and column.endswith("_issue"):
            rows = lab.issues.index[lab.issues[column]]
            found[column[3:-6]] = sorted(str(Path(path).relative_to(folder)) for path in rows)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Datalab's spurious correlations and CleanVision's issues; run by shortcuts.py in their own venv.

Prints one JSON object.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

from cleanlab import Datalab
from datasets import Dataset, Image


def main() -> None:
    work = Path(sys.argv[1])
    images, labels = [], []
    for side in ("0", "1"):
        paths = sorted((work / side).iterdir())
        images += [str(path) for path in paths]
        labels += json.loads((work / f"{side}.json").read_text())
    data = Dataset.from_dict({"image": images, "label": labels}).cast_column("image", Image())
    with contextlib.redirect_stdout(io.StringIO()):
        lab = Datalab(data=data, label_name="label", image_key="image", verbosity=0)
        lab.find_issues()
    info = lab.get_info("spurious_correlations")
    frame = info["correlations_df"]
    low = frame[frame["score"] < info["threshold"]]
    correlated = ", ".join(f"{one.property} ({one.score:.2f})" for one in low.itertuples())
    summary = lab.get_issue_summary()
    found = ", ".join(
        f"{one.issue_type} {one.num_issues}" for one in summary.itertuples() if one.num_issues
    )
    print(json.dumps({"datalab": correlated or "none", "issues": found or "none"}))


if __name__ == "__main__":
    main()

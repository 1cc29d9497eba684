"""The result of a self-test as plain text."""

from embedkit.audits.faces import FALSE_LINKS
from embedkit.audits.plants import People, Swaps
from embedkit.audits.selftest import Selftest
from embedkit.reports.text import share, table
from embedkit.statistics import Estimate

MOST = 5  # pairs that are listed


def selftest_text(result: Selftest) -> str:
    """Return what was planted, found and reported wrongly, kind by kind."""
    rows = [["copies, by kind", "planted", "found", "recall", "false alarms", "precision"]]
    notes = []
    for row in (*result.rows, result.all_copies):
        if row.reason:
            notes.append(f"Not run: {row.kind}: {row.reason}.")
            continue
        figures = [share(row.recall), str(row.false), share(row.precision)]
        rows.append([row.kind, str(row.planted), str(row.found), *figures])
    lines = [
        f"A shadow of {result.sample} of {result.n} images, in {result.space}; the store and its "
        "pictures were only read",
        table(rows),
        "  false alarms: pairs that join such a copy to a picture of something else",
        *notes,
        "",
        _nothing(result.decoys),
    ]
    if result.sample < result.n:
        lines.append(
            f"In the whole store a picture meets {result.n / result.sample:.1f} times as many "
            "others, and so as many chances of a false alarm."
        )
    if result.refused:
        lines.append(f"The backbone takes no vector of {result.refused} of the planted pictures.")
    if result.before:
        lines.append(
            f"Found before anything was planted, perhaps real, not counted: {len(result.before)} "
            "pairs"
        )
        lines += [f"  {pair.kind}  {pair.a}  {pair.b}" for pair in result.before[:MOST]]
        if len(result.before) > MOST:
            lines.append(f"  and {len(result.before) - MOST} more ('embedkit audit' lists them)")
    people, labels = result.people, result.labels
    return "\n".join(
        [
            *lines,
            "",
            f"Not run: people: {people}." if isinstance(people, str) else _people(people),
            "",
            f"Not run: labels: {labels}." if isinstance(labels, str) else _labels(labels),
        ]
    )


def _people(people: People) -> str:
    return "\n".join(
        [
            f"People by their faces ({people.space}), their names hidden, "
            f"{people.planted} test images with their person in train",
            table(
                [
                    ["recall: led to their person in train", share(people.recall)],
                    ["precision: of those led anywhere, rightly", share(people.precision)],
                    ["nobody planted: led to somebody all the same", share(people.nothing_planted)],
                ]
            ),
            f"  at most {FALSE_LINKS:.0%} of test images should be: so the threshold is set",
        ]
    )


def _labels(labels: Swaps) -> str:
    return "\n".join(
        [
            f"Labels swapped at random, {labels.planted} of {labels.judged} in the sample; "
            f"{labels.before} were listed before, perhaps wrong, and are not counted",
            table(
                [
                    ["recall: listed as labels to look at", share(labels.recall)],
                    ["precision: of what is listed, swapped", share(labels.precision)],
                ]
            ),
        ]
    )


def _nothing(decoys: Estimate) -> str:
    what = f"of {decoys.n} pictures that cannot be copies"
    if decoys.value:
        return f"Nothing planted: {share(decoys)} {what} are called copies."
    return f"Nothing planted: none {what} is called one (at most {decoys.high:.1%}, one-sided 95%)."

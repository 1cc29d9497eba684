"""What audits found, as plain text for the terminal."""

from collections.abc import Sequence

from embedkit.audits import Audit, Verdict
from embedkit.audits.bias import Bias
from embedkit.audits.classifiers import RIGHT, Classifier, Reproduction
from embedkit.audits.ledger import Ledger
from embedkit.audits.remedies import Advice, SplitPlan
from embedkit.reports.text import difference, p_value, share, table

SIGNS = {
    Verdict.PRESENT: "!! present",
    Verdict.ABSENT: "ok absent",
    Verdict.INCONCLUSIVE: "?? inconclusive",
    Verdict.NOT_RUN: "-- not run",
}


def split_plan(plan: SplitPlan) -> str:
    """Return the images of a planned split by label, and how near it comes to what was asked."""
    labels = sorted({label for counts in plan.counts.values() for label in counts})
    shown = labels[:20]
    rows = [["", *plan.counts]]
    rows += [[name, *(str(counts[name]) for counts in plan.counts.values())] for name in shown]
    if len(labels) > len(shown):
        rest = labels[len(shown) :]
        rows.append(
            [
                f"({len(rest)} more)",
                *(str(sum(c[name] for name in rest)) for c in plan.counts.values()),
            ]
        )
    sums = [sum(counts.values()) for counts in plan.counts.values()]
    rows.append(["all", *map(str, sums)])
    got = ", ".join(
        f"{side} {n / sum(sums):.1%} ({plan.wanted[side]:.0%} asked)"
        for side, n in zip(plan.counts, sums, strict=True)
    )
    return (
        f"{table(rows)}\n{plan.clusters} clusters, the largest of {plan.largest} images, none on "
        f"two sides; {got}"
    )


def advice(every: Sequence[Advice]) -> str:
    """Say how many images each action is for, with the first few."""
    lines = []
    for action in dict.fromkeys(one.action for one in every):
        some = [one for one in every if one.action == action]
        lines.append(f"{action}: {len({one.id for one in some})} images")
        lines += [
            f"  {one.id}: {one.reason}" + (f" ({one.other})" if one.other else "")
            for one in some[:3]
        ]
    return "\n".join(lines) or "Nothing to drop, to label anew, to move or to look at."


def findings(audit: Audit) -> str:
    """Return one line a finding, those that did not run together at the end."""
    lines = []
    for finding in audit.findings:
        if finding.verdict is not Verdict.NOT_RUN:
            lines.append(
                f"{SIGNS[finding.verdict]:<16} {finding.name}: {finding.summary} "
                f"({finding.statement.value})"
            )
        if isinstance(finding, Bias):
            lines += [f"{'':<16}   {line}" for line in _groups(finding)]
        if isinstance(finding, Ledger):
            lines.append(f"{'':<16}   {finding.resplits.sentence}")
            lines += [f"{'':<16}   {head.head}: {' '.join(head.notes())}" for head in finding.heads]
    skipped = [one for one in audit.findings if one.verdict is Verdict.NOT_RUN]
    for reason in dict.fromkeys(one.not_run_reason for one in skipped):
        names = ", ".join(one.name for one in skipped if one.not_run_reason == reason)
        lines.append(f"{SIGNS[Verdict.NOT_RUN]:<16} {names}: {reason}")
    return "\n".join(lines)


def _groups(found: Bias) -> list[str]:
    """Return a line for each attribute by itself, the group that is right most seldom first."""
    lines = []
    for gap in found.gaps:
        if len(gap.grouping.attributes) == 1:
            rates = sorted(found.rates_in(gap), key=lambda one: one.accuracy.value)
            said = [f"{one.group} {share(one.accuracy)} of {one.accuracy.n}" for one in rates]
            lines.append(f"{gap.grouping.name}: {', '.join(said)}")
        if gap.mixture is not None and gap.mixture.pairs:
            corrected = sorted(gap.mixture.accuracies, key=lambda one: one[1].value)
            said = [f"{group} {share(one)}" for group, one in corrected]
            lines.append(f"{gap.grouping.name}, corrected: {', '.join(said)}")
    return lines


def classifier(result: Classifier) -> str:
    """Return what mistakes do to a user's classifier, and which gives each figure."""
    swept = result.sweep
    rows = [["prepared", "accuracy", "points", "answers changed", "p"]]
    rows.append([RIGHT, share(swept.right), "", "", ""])
    rows += [
        [
            one.name,
            share(one.accuracy),
            difference(one.difference),
            f"{one.flipped.value:.1%}",
            p_value(one.p),
        ]
        for one in swept.mistakes
    ]
    gentle = [["on its way", "answers changed"]]
    gentle += [[one.name, share(one.flipped)] for one in swept.mild]
    where = f"{result.split} pictures" if result.split else "pictures"
    lines = [
        f"{result.model.name} on {result.pictures} of {result.labelled} {where}; 95% intervals in "
        "brackets; p: McNemar's exact test, adjusted by Holm",
        table(rows),
        "",
        table(gentle),
        "",
    ]
    if result.unreadable:
        lines.append(f"{result.unreadable} pictures could not be read.")
    idle = "; ".join(f"{one.name} ({one.reason})" for one in swept.idle)
    lines += [f"Nothing changes with: {idle}."] if idle else []
    lines += [_reproduction(one) for one in result.figures]
    return "\n".join(lines).rstrip()


def _reproduction(one: Reproduction) -> str:
    figure = f"{one.figure.value:.1%}" if one.figure.n == 0 else share(one.figure)
    if not one.holds:
        name, accuracy = one.nearest
        return f"{figure} is what none of these gives; the nearest is {name}, {share(accuracy)}."
    (name, accuracy), *others = one.holds
    way = f"prepared {name}" if name == RIGHT else f"with {name}"
    given = f"{figure} is what you get {way} ({share(accuracy)})"
    if not others:
        return f"{given}, and with nothing else."
    more = ", ".join(f"{name} ({share(accuracy)})" for name, accuracy in others[:4])
    rest = f" and {len(others) - 4} more" if len(others) > 4 else ""
    return f"{given}; others fit too: {more}{rest}."

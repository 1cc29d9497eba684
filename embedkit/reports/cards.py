"""The card of one image as plain text."""

import math

from embedkit.audits.cards import RELATIONS, Card, Entry
from embedkit.reports.text import table

MOST = 12  # relatives that are listed
CAUSES = {
    "exact_twins": "exact copies of test images",
    "near_twins": "and near copies",
    "siblings": "and their people",
    "shortcuts": "what follows the file",
}


def card_text(card: Card) -> str:
    """Return a card, the sentence first."""
    where = f"{card.split or 'in no'} {'image' if card.split else 'split'}"
    label = f"label {card.label!r}" if card.label is not None else "no label"
    blocks = [
        f"{card.id} ({where if card.known else 'a picture that is not in the store'}, {label})\n"
        f"  {card.sentence}",
        _answers(card),
        _neighbours(card),
        _relatives(card),
    ]
    if card.entry is not None:
        blocks.append(_entry(card.entry))
    else:
        blocks.append(f"No part of the ledger: {card.no_entry}.")
    return "\n\n".join(blocks)


def _answers(card: Card) -> str:
    rows = [[f"answer of the {card.head} head", card.answer, f"{card.probability:.1%}"]]
    without = card.without
    if without.removed and without.answer is not None:
        what = "without it and its relatives" if card.split == "train" else "without its relatives"
        rows.append(
            [
                f"{what} ({_count(without.removed)})",
                without.answer,
                f"{without.probability:.1%}",
            ]
        )
    calibration = card.calibration
    said = f"the head itself says {card.stated:.1%}"
    if calibration.note:
        return f"{table(rows)}\n  the probability is the head's own: {calibration.note}"
    return (
        f"{table(rows)}\n  calibrated on {calibration.n} training images, each left out with its "
        f"relatives; {said}"
    )


def _neighbours(card: Card) -> str:
    scored = card.nearest == card.nearest
    rows = [["nearest in train", "label", "similarity", "of train", "of test", "relation"]]
    rows += [
        [
            one.neighbour.id,
            one.neighbour.label or "-",
            f"{one.neighbour.similarity:.3f}",
            _percent(one.of_train),
            _percent(one.of_test) if scored else "-",
            RELATIONS[one.relation] if one.relation else "-",
        ]
        for one in card.neighbours
    ]
    lines = [table(rows), "  of train: training images that are less similar to it"]
    if scored:
        lines.append("  of test: test images whose own nearest training image is less similar")
    return "\n".join(lines)


def _relatives(card: Card) -> str:
    note = ""
    if card.people_unknown:
        note = f"\n\nPeople were not considered, only copies: {card.people_unknown}."
    if card.missed:
        note += f"\n\nNear copies may have been missed: {card.missed}."
    if not card.relatives:
        return f"Relatives: none in the store.{note}"
    rows = [["relatives", "relation", "split", "label"]]
    rows += [
        [one.id, RELATIONS[one.relation], one.split or "-", one.label or "-"]
        for one in card.relatives[:MOST]
    ]
    text = table(rows)
    if len(card.relatives) > MOST:
        text += f"\n  and {len(card.relatives) - MOST} more"
    return text + note


def _entry(entry: Entry) -> str:
    rows = [["part of the ledger", "points", "answer"]]
    rows.append(["reported", _points(entry.reported), ""])
    rows += [
        [f"less {CAUSES[part.cause]}", _points(-part.effect), part.answer or ""]
        for part in entry.parts
    ]
    rows.append(["honest", _points(entry.honest), ""])
    return (
        f"{table(rows)}\n  the means over all test images are the ledger's lines; each answer is "
        "that of a head\n  trained without the relatives of every test image, compared with heads "
        "trained without\n  as many random images"
    )


def _percent(share: float) -> str:
    """Return a percentage that is 100 only where all are below."""
    return f"{int(round(1000 * share, 6)) / 10:.1f}%"


def _points(value: float) -> str:
    return "not measured" if math.isnan(value) else f"{round(100 * value):d}"


def _count(n: int) -> str:
    return f"{n} training image{'' if n == 1 else 's'}"

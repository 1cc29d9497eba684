"""Recalled: the copies that a kept audit found, without looking for them again."""

import math
from collections.abc import Sequence

import numpy as np

from embedkit.audits.base import Statement, Verdict
from embedkit.audits.calibration import Calibration
from embedkit.audits.kept import Document
from embedkit.audits.twins import Cluster, Pair, Twins
from embedkit.errors import InputError
from embedkit.joins import Recall
from embedkit.statistics import Estimate, connected
from embedkit.store import Store
from embedkit.vectors import IntArray


def recall_twins(store: Store, finding: Document) -> Twins:
    """Return the finding `twins` from its JSON; figures are rounded as there.

    Args:
        store: that it was made from, and that it still fits.
        finding: as `kept` returns it.

    Raises:
        InputError: it is none that embedkit wrote of this store.
    """
    rows = {id_: row for row, id_ in enumerate(store.items.ids)}
    try:
        details = finding["details"]
        pairs = tuple(
            Pair(
                one["a"],
                one["b"],
                one["kind"],
                float(one["score"]),
                tuple(one["splits"]),
                tuple(one["labels"]),
            )
            for one in details["pairs"]
        )
        return Twins(
            name="twins",
            verdict=Verdict(finding["verdict"]),
            statement=Statement(finding["statement"]),
            summary=finding["summary"],
            estimate=Estimate(finding["value"], finding["low"], finding["high"], finding["n"]),
            detectable=finding["detectable"],
            missed=finding["may_have_missed_because"] or "",
            pairs=pairs,
            exact=_clusters([one for one in pairs if one.kind == "exact"], rows),
            near=_clusters(pairs, rows),
            clusters=tuple(
                Cluster(tuple(rows[id_] for id_ in one["images"]), rows[one["keep"]], one["reason"])
                for one in details["clusters"]
            ),
            calibration=_calibration(details["near_copies"]),
            plain=tuple(details["too_plain_to_compare"]),
            unseen=details["not_looked_at"],
            ids=tuple(rows),
            nearest=_recall(details["candidates"]["nearest"]),
            alike=details["candidates"]["every_alike_pair"],
        )
    except (KeyError, TypeError, ValueError):
        raise InputError(
            "the kept finding 'twins' is damaged; 'embedkit audit' makes it anew"
        ) from None


def _clusters(pairs: Sequence[Pair], rows: dict[str, int]) -> IntArray:
    joined = np.array([(rows[one.a], rows[one.b]) for one in pairs], np.int64)
    return connected(len(rows), joined.reshape(-1, 2))


def _recall(kept: Document | None) -> Recall | None:
    return None if kept is None else Recall(kept["found"], kept["of"], kept["rows"])


def _calibration(kept: Document | None) -> Calibration | None:
    if kept is None:
        return None
    decoys, sure = kept["decoys"], kept["no_witness_from"]
    return Calibration(
        threshold=kept["threshold"],
        look_alikes=kept["look_alikes_reach"],
        candidates=kept["candidate_pairs"],
        recall=tuple(
            (one["change"], one["found"], one["recall"]["n"]) for one in kept["planted_copies"]
        ),
        false_pairs=kept["expected_false_pairs"],
        decoys=(decoys["above_threshold"], decoys["n"]),
        sure=math.inf if sure is None else sure,
    )

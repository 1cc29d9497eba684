"""Views: what a head still reaches when a part of every picture is taken away, or made alike."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from embedkit.audits.base import MATERIAL
from embedkit.audits.looks import ALIKE, WITHOUT, Look, of_neutral, of_taken
from embedkit.audits.refits import Bench, ask_first
from embedkit.audits.sights import VIEWS, neutral_views
from embedkit.audits.swaps import Swap, judge_swaps, plan_swaps
from embedkit.backbones import Backbone, FaceBackbone, load_again
from embedkit.errors import EmbedkitError, InputError
from embedkit.pipeline.progress import OnProgress
from embedkit.pipeline.seen import View
from embedkit.pipeline.views import make_views, read_view
from embedkit.statistics import Estimate, holm, paired_difference, proportion, sign_flip
from embedkit.store import Space, Store
from embedkit.vectors import BoolArray

if TYPE_CHECKING:
    from embedkit.backbones.faces import Face  # brings torchvision

FEWEST = 30  # independent test images of a view
FOUND = 0.5  # of the labelled images: faces in fewer are no view of the data set


@dataclass(frozen=True, slots=True)
class Views:
    """A head on views of the pictures, on neutralised ones, and on ones whose files are swapped.

    Attributes:
        space: whose backbone saw the views.
        head: kind of head.
        looks: each view.
        swaps: each pair of classes.
        example: a test image and the face in it; None where nothing was looked at.
        reason: why nothing was looked at; empty if something was.
    """

    space: str
    head: str
    looks: tuple[Look, ...] = ()
    swaps: tuple[Swap, ...] = ()
    example: "tuple[str, Face | None] | None" = None
    reason: str = ""

    def confirm(self, material: float = MATERIAL) -> bool | None:
        """Whether a head on pictures made alike is shown to know less; None if there was none."""
        alike = next((one for one in self.looks if one.name == ALIKE and not one.reason), None)
        return None if alike is None else alike.costs(material)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "space": self.space,
            "head": self.head,
            "looks": [one.to_dict() for one in self.looks],
            "swaps": [one.to_dict() for one in self.swaps],
            "not_run_reason": self.reason or None,
        }

    def sentences(self, material: float = MATERIAL) -> list[str]:
        """Say what was seen."""
        if self.reason:
            return [f"Views were not run: {self.reason}."]
        taken = [of_taken(one, material) for one in self.looks if one.name in WITHOUT]
        return [
            *taken,
            *of_neutral([one for one in self.looks if one.neutral and not one.reason], material),
            *(one.sentence() for one in self.swaps),
        ]


def look_at_views(
    store: Store,
    bench: Bench,
    space: Space,
    *,
    progress: OnProgress | None = None,
) -> Views:
    """Train and test a head on each view of the pictures, beside the pictures as they are.

    Vectors that are not there yet are embedded, by the backbone of the space and as it prepares
    pictures, and kept; everything else costs a head for each view.

    Args:
        store: of the pictures.
        bench: rows, classes, clusters and the kind of head; its engine embeds and trains.
        space: that the bench's vectors are of.
        progress: called while pictures are embedded.

    Raises:
        StoreError: vectors cannot be kept, or another process is writing.
    """
    try:
        eye = load_again(
            **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
        )
    except EmbedkitError as error:
        return Views(
            space.name,
            bench.kind,
            reason=f"the backbone of {space.name} cannot be loaded: {error}",
        )
    neutral = neutral_views(store)
    every = [*VIEWS, *neutral]
    shown = [view for view in every if not (view.face_only and isinstance(eye, FaceBackbone))]
    try:
        plans = plan_swaps(store, bench)
        swapping = [view for plan in plans for view in plan.views]
        faces = make_views(
            store, space, eye, [*shown, *swapping], engine=bench.engine, progress=progress
        )
    except InputError as error:
        return Views(space.name, bench.kind, reason=str(error))
    benches = {view.name: _benches(store, bench, space, eye, view) for view in every}
    made = [one for pair in benches.values() if not isinstance(pair, str) for one in pair]
    ask_first([one for one in made if one is not bench])
    looks = [_look(view, view in neutral, benches[view.name]) for view in every]
    shown_row = next((row for row in bench.test if faces[row] is not None), bench.test[0])
    p, p_above = (holm([getattr(one, key) for one in looks]) for key in ("p", "p_above"))
    return Views(
        space.name,
        bench.kind,
        tuple(
            replace(one, p=each, p_above=above)
            for one, each, above in zip(looks, p, p_above, strict=True)
        ),
        judge_swaps(store, bench, space, plans),
        (store.items.ids[shown_row], faces[shown_row]),
    )


def _benches(
    store: Store, bench: Bench, space: Space, eye: Backbone, view: View
) -> tuple[Bench, Bench] | str:
    """Return the bench of the pictures in a view as they are, and that of the view; or why none."""
    if view.face_only and isinstance(eye, FaceBackbone):
        return f"{space.name} sees faces alone as it is"
    kept = read_view(store, space, view.name)
    if kept is None:
        return "no face was found in any picture"
    images = list(zip(store.items.ids, map(str, store.items.column("sha256")), strict=True))
    rows, places = kept.of(images)
    vectors = np.zeros_like(bench.vectors)
    vectors[places] = rows
    seen = np.isin(np.arange(len(images)), places)
    reason = _too_few(bench, seen)
    if reason:
        return reason
    plain = bench if seen[bench.pool].all() else bench.within(seen)
    return plain, plain.seeing(vectors)


def _look(view: View, neutral: bool, benches: tuple[Bench, Bench] | str) -> Look:
    if isinstance(benches, str):
        return _none(view, neutral, benches)
    plain, head = benches
    right, before = head.right(head.first), plain.right(plain.first)
    truth, clusters = plain.y[plain.test], plain.clusters[plain.test]
    commonest = truth == int(np.bincount(plain.y[plain.train]).argmax())

    def share(of: BoolArray) -> Estimate:
        return proportion(of, clusters, seed=plain.seed)

    def tested(than: BoolArray) -> float:
        return sign_flip(right.astype(float) - than, clusters, seed=plain.seed)

    return Look(
        name=view.name,
        words=view.words,
        neutral=neutral,
        accuracy=share(right),
        plain=share(before),
        difference=paired_difference(right, before, clusters, seed=plain.seed),
        p=tested(before),
        majority=share(commonest),
        above=paired_difference(right, commonest, clusters, seed=plain.seed),
        p_above=tested(commonest),
    )


def _too_few(bench: Bench, seen: BoolArray) -> str:
    if seen[bench.pool].mean() < FOUND:
        return (
            f"a face was found in {int(seen[bench.pool].sum())} of {len(bench.pool)} labelled "
            "pictures only"
        )
    n = len(np.unique(bench.clusters[bench.test[seen[bench.test]]]))
    if n < FEWEST:
        return f"not enough images (n = {n} independent ones in test); {FEWEST} are needed"
    classes = len(np.unique(bench.y[bench.train[seen[bench.train]]]))
    return "" if classes > 1 else "train has one class only where a face was found"


def _none(view: View, neutral: bool, reason: str) -> Look:
    nothing = Estimate(float("nan"), float("nan"), float("nan"), 0)
    return Look(
        name=view.name,
        words=view.words,
        neutral=neutral,
        accuracy=nothing,
        plain=nothing,
        difference=nothing,
        p=float("nan"),
        majority=nothing,
        above=nothing,
        p_above=float("nan"),
        reason=reason,
    )

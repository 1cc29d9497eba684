"""Zero-shot heads: classes named by prompts, for backbones that embed texts too."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

import embedkit
from embedkit.backbones import TextBackbone, load_again
from embedkit.errors import InputError
from embedkit.files import read_plain
from embedkit.heads.classifier import Choice
from embedkit.heads.head import Head, Training, training_hash
from embedkit.heads.logistic import Logistic
from embedkit.neighbours import text_space
from embedkit.store import Store
from embedkit.vectors import unit_rows

KIND = "zeroshot"


def read_prompts(path: Path) -> dict[str, list[str]]:
    """Read prompts by class: a line `class: prompt` for each, `#` begins a remark.

    Raises:
        InputError: it cannot be read, a line has another form, or there are fewer than two classes.
    """
    prompts: dict[str, list[str]] = {}
    example = "smiling: a photo of a smiling person"
    for _, label, prompt in prompt_lines(path, form="class: prompt", example=example):
        prompts.setdefault(label, []).append(prompt)
    if len(prompts) < 2:
        raise InputError(f"{path} has prompts of {len(prompts)} classes; two or more are needed")
    return prompts


def prompt_lines(path: Path, *, form: str, example: str) -> Iterator[tuple[int, str, str]]:
    """Read the lines of a file of prompts, `name: text`; `#` begins a remark.

    Args:
        path: of the file.
        form: of a line, for the message.
        example: of a line, for the message.

    Yields:
        (number of the line, name, text), neither of them empty.

    Raises:
        InputError: it cannot be read, or a line has another form.
    """
    try:
        lines = read_plain(path).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise InputError(f"{path} cannot be read: {reason}") from None
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, colon, prompt = (part.strip() for part in text.partition(":"))
        if not (name and colon and prompt):
            raise InputError(
                f"{path}, line {number}: {text!r} is not '{form}', for example '{example}'"
            )
        yield number, name, prompt


def zeroshot(
    store: Store,
    prompts: Mapping[str, Sequence[str]],
    *,
    label: str = "label",
    backbone: str | None = None,
) -> Head:
    """Make a head from prompts; it sees no image and no label.

    A class is the mean of its prompts' unit vectors, and probabilities are a softmax over cosines
    times the scale that the network was trained with (A. Radford et al., "Learning transferable
    visual models from natural language supervision", 2021, section 3.1).

    Args:
        store: whose space is to be classified.
        prompts: one or more for each class.
        label: column that the classes are compared with when the head is scored; any new name for
            an attribute that is only guessed.
        backbone: which space; can be left out where only one knows texts.

    Raises:
        InputError: no space of the store was made by a backbone that knows texts, or no prompt is
            of a class that the column has.
        SpaceMismatchError: this embedkit's backbone makes other vectors than the space holds.
    """
    space = text_space(store, backbone)
    network = cast(
        TextBackbone,
        load_again(
            **space.record.backbone, contract_sha256=space.contract_sha256, where=str(space.folder)
        ),
    )
    labels = tuple(sorted(prompts))
    there = label in store.items.rows.column_names
    given = {name for name in store.items.label_column(label) if name} if there else set()
    if given and not given & set(labels):
        raise InputError(
            f"the classes in column {label!r} are {_some(given)}, prompts are of {_some(labels)}; "
            "give the prompts those names, or an attribute's name of your own with --label"
        )
    means = [network.embed_text(prompts[name]).astype(np.float64).mean(axis=0) for name in labels]
    scale = network.text_scale
    n = sum(len(prompts[name]) for name in labels)
    return Head(
        kind=KIND,
        labels=labels,
        label=label,
        classifier=Logistic(
            coefficients=scale * unit_rows(np.stack(means)).astype(np.float64),
            intercepts=np.zeros(len(labels)),
            choice=Choice("scale", scale, f"the network itself, {n} prompts", ()),
        ),
        training=Training(
            store.path,
            space.name,
            space.contract_sha256,
            space.record.backbone,
            (),
            np.empty(0, np.int64),
            training_hash(store, (), label),
            label,
        ),
        made_with={
            "embedkit": embedkit.__version__,
            "open_clip_torch": metadata.version("open_clip_torch"),
        },
    )


def _some(names: Iterable[str]) -> str:
    every = sorted(names)
    return ", ".join(every[:6]) + (", …" if len(every) > 6 else "")


def guesses(head: Head, store: Store) -> pa.Table:
    """Return what a head says of every image of a store.

    Returns:
        Columns `id`, the head's `label` (the most probable class) and `p_<class>` for each class.

    Raises:
        SpaceMismatchError: the store's space is another than the head's.
    """
    rows = np.arange(len(store.items))
    probabilities = head.probabilities(store.space(head.training.space), rows)
    columns = {"id": store.items.ids}
    columns[head.label] = [head.labels[place] for place in probabilities.argmax(axis=1)]
    scores = {f"p_{name}": probabilities[:, place] for place, name in enumerate(head.labels)}
    return pa.table({**columns, **scores})

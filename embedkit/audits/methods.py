"""How each audit comes to its figure, in a line."""

METHODS = {
    "twins": "Candidates by content, perceptual hash and vectors; each pair laid onto each other "
    "and compared on the pixels, with a threshold calibrated on planted copies.",
    "siblings": "People by the data set's groups, else by a face network at a published or "
    "calibrated threshold; copies are not counted.",
    "leakage": "Share of test images with a relative in train; the bootstrap draws groups of "
    "related images.",
    "ledger": "Each head trained again without relatives of test images, beside heads trained "
    "without as many random ones; the same test images, paired; the bootstrap draws groups of "
    "related images.",
    "parity": "Test pictures read again, in a batch and alone, and compared with the store; then "
    "prepared wrongly on purpose.",
    "shortcuts": "Heads on what files say without their subject, and whether the head on pictures "
    "is right less often where that points elsewhere; permutations within groups of related "
    "images.",
    "labels": "Answers of heads, neighbours and confident learning that saw neither the image nor "
    "its relatives; copies that disagree are certain.",
    "bias": "Accuracy of each group of test images; permutations over groups of related images "
    "(max-T), intervals that hold all pairs of groups at once, p-values adjusted by Holm.",
    "quality": "Every picture measured against rules for broken, spoilt and odd ones, and where "
    "these gather.",
}

"""Which of embedkit's questions other tools answer, as their documentation and runs show."""

YES, NO = "yes", "no"

# embedkit, fastdup, cleanvision, cleanlab Datalab, FiftyOne Brain
ANSWERED = [
    ["files that cannot be read", YES, YES, "no: one ends the run", "no: reads none", YES],
    ["exact copies", YES, "part: cosine of 1", "yes: equal pixels", "part: among the near", YES],
    [
        "near copies",
        "yes: confirmed on the pixels, threshold calibrated on the set",
        "yes: its two nearest above a fixed cosine",
        "part: equal perceptual hashes",
        "yes: near beside what is usual in the set",
        "yes: within a fixed cosine",
    ],
    ["copies across splits", YES, "part: a second folder", NO, NO, YES],
    ["relatives (one person on both sides)", YES, NO, NO, NO, NO],
    ["points of accuracy that copies and relatives are worth, with controls", YES, NO, NO, NO, NO],
    [
        "shortcuts: what files, borders, colours say of the class",
        YES,
        "part: statistics only",
        NO,
        "part: seven properties, with cleanvision",
        NO,
    ],
    ["whether a head uses a shortcut, in points", YES, NO, NO, NO, NO],
    ["labels that are likely wrong", YES, "yes: label beside neighbours'", NO, YES, YES],
    ["how many labels are wrong, with an interval", YES, NO, NO, "part: no interval", NO],
    ["dark, light, blurry, empty pictures", YES, YES, YES, "with cleanvision", NO],
    [
        "pictures that do not belong (outliers)",
        YES,
        YES,
        "part: odd size and shape",
        YES,
        "part: uniqueness",
    ],
    [
        "gaps between groups, with intervals",
        YES,
        NO,
        NO,
        "part: the worst cluster",
        "part: figures by view",
    ],
    ["what a mistake in preparing the pictures would cost", YES, NO, NO, NO, NO],
]
BESIDES = """What they do that embedkit does not: **fastdup** clusters pictures, shows galleries of
them, reads videos and boxes, and is made for hundreds of millions of pictures. **cleanvision**
needs no network at all and names each defect with a score. **cleanlab** works on tables, text,
tokens, several labels a picture, boxes and masks as well, tests for non-iid order and null values,
and estimates the worth of each example. **FiftyOne** is an application: browsing, tagging and
querying pictures, videos, boxes and masks, sharing views, hardness and representativeness for
choosing what to label next, and many integrations."""

"""Which of embedkit's questions other tools answer, as their documentation and runs show."""

YES, NO = "yes", "no"

# embedkit, fastdup, cleanvision, cleanlab Datalab, FiftyOne Brain
ANSWERED = [
    ["files that cannot be read", YES, YES, NO, NO, "part: left out, counted in the log"],
    ["exact copies", YES, YES, YES, "part: only as near copies", YES],
    [
        "near copies",
        "yes: confirmed on the pixels, threshold calibrated on the set",
        "part: cosine above a fixed threshold",
        "part: equal perceptual hashes",
        "part: near in the given vectors",
        "part: near in the given vectors, fixed threshold",
    ],
    ["copies across splits", YES, "part: pairs are listed, to be joined with splits", NO, NO, YES],
    ["relatives (one person on both sides)", YES, NO, NO, NO, NO],
    ["points of accuracy that copies and relatives are worth, with controls", YES, NO, NO, NO, NO],
    [
        "shortcuts: what files, borders, colours say of the class",
        YES,
        NO,
        NO,
        "part: seven properties of pictures, with cleanvision",
        NO,
    ],
    ["whether a head uses a shortcut, in points", YES, NO, NO, NO, NO],
    ["labels that are likely wrong", YES, "part: label beside neighbours' labels", NO, YES, YES],
    ["how many labels are wrong, with an interval", YES, NO, NO, "part: count, no interval", NO],
    ["dark, light, blurry, empty pictures", YES, YES, YES, "with cleanvision", NO],
    ["outliers", YES, YES, "part: odd size and shape", YES, "part: uniqueness"],
    ["gaps between groups, with intervals", YES, NO, NO, "part: underperforming clusters", NO],
    ["preprocessing that differs between train and test", YES, NO, NO, "part: non-iid order", NO],
]
BESIDES = """What they do that embedkit does not: **fastdup** clusters pictures, shows galleries of
them, reads videos and boxes, and is made for hundreds of millions of pictures. **cleanvision**
needs no network at all and names each defect with a score. **cleanlab** works on tables, text,
tokens, several labels a picture, boxes and masks as well, tests for non-iid order and null values,
and estimates the worth of each example. **FiftyOne** is an application: browsing, tagging and
querying pictures, videos, boxes and masks, sharing views, hardness and representativeness for
choosing what to label next, and many integrations."""

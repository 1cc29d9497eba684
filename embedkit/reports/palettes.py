"""Colours of maps, the same on paper and in a browser."""

# M. Okabe and K. Ito, "Color Universal Design": apart for every common kind of colour vision.
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442")
OTHER = "#8a8f98"  # shared by the values that have no colour of their own
NONE = "#c3c8cf"  # of what has no value
# Cividis without its ends, which drown in a black or a white ground
# (J. Nunez, C. Anderton, R. Renslow, PLoS ONE 13(7), 2018).
RAMP = ("#26416f", "#47536c", "#646570", "#7f7975", "#9c8e73", "#bba569", "#dbbd55", "#f5d63d")

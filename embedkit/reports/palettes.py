"""Colours of maps, the same on paper and in a browser."""

# M. Okabe and K. Ito, "Color Universal Design": apart for every common kind of colour vision.
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442")
OTHER = "#8a8f98"  # shared by the values that have no colour of their own
NONE = "#c3c8cf"  # of what has no value, or one that says nothing out of the ordinary
# Viridis without its ends, which drown in a black or a white ground.
RAMP = ("#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#dfe318")

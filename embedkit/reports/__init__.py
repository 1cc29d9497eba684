"""Reports: results become a page, a document, a figure or text; nothing is computed here."""

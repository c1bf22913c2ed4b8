"""Tables of documents: one reader, columns, splits, near-duplicates, known corpora."""

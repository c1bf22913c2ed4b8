"""Where texts and summaries come from: the corpora known by name, files, folders and the Hub."""

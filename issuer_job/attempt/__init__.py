"""One attempt as its pod sees it, how it can end, what users are told."""

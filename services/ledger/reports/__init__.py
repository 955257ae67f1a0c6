"""What auditors want to know of many things at once: each report is one question, and rows of one shape."""

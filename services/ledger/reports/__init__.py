"""What auditors want to know of many things at once: each report is one question, and rows of one shape.

Facts are taken in, and rows made of them, beside the event loop: the same process tells guards of denials.
"""

"""Read models, made again from the log while the service runs, and held against it.

begin: empty shadows ─▶ feed: facts, in small steps ─▶ hold the gate, feed what is left ─▶ swap, or compare
"""

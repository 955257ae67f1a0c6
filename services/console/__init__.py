"""The console: what administrators and auditors do in a browser.

Owns nothing but who is signed in at it, in memory. Must never hold a rule, a row, a right of its own: whatever it shows
or does is a call to another service with the person's own access token, and that service decides. It is an application
like any other, `com.stagedoor/console`, and proves itself with a key of its own. Facts in: none. Facts out: none.
"""

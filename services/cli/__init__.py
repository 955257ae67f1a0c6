"""The `stagedoor` command: a first-party native application that speaks for the person who signed in with it.

It calls the services over gRPC with their own certificate's name checked, holds no rules of its own, and says no
where they say no.
"""

"""BackstageHub: signs Freddie in with Stagedoor and keeps his tour dates in sync. Copy from it what you need.

    settings.py   what it is told by its environment
    sign_in.py    OpenID Connect: sign in, refresh, sign out (Authlib does the protocol)
    sessions.py   who is signed in; tokens stay here, on the server
    tours.py      the API, called with the user's token; what it answers when it refuses
    app.py        the pages

It uses nothing of Stagedoor but its public addresses, as any application does.
"""

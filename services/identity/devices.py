"""What a browser says it is, in words that its owner recognises. Nothing is decided by it."""

_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
"""In this order, because most of them say that they are the later ones, too."""
_SYSTEMS = (
    ("iPhone", "an iPhone"),
    ("iPad", "an iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "a Mac"),
    ("Linux", "Linux"),
)
_LONGEST = 40

UNKNOWN = "A browser"


def described(user_agent: str | None) -> str:
    """Such as “Firefox on Linux”; of other programs, how they begin to present themselves."""
    if not user_agent:
        return UNKNOWN
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if browser:
        return f"{browser} on {system}" if system else browser
    if system:
        return f"{UNKNOWN} on {system}"
    return user_agent.split(" ")[0][:_LONGEST] or UNKNOWN

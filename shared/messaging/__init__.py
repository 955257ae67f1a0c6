"""Other services' facts, as they reach a service over NATS.

A service names the sources it follows and projects their events into tables of its own:

    follower = Follower(log, "applications", ("registry",), project, NatsAccess.read(settings))
    ... run it in the background: follower.run()
"""

from shared.messaging.access import NatsAccess
from shared.messaging.follower import Follower

__all__ = ["Follower", "NatsAccess"]

"""What users have allowed applications."""

from services.identity.domain.consent import CONSENT, GiveConsent, WithdrawConsent, consent_id
from services.identity.read_model import Questions, SessionRow, project
from shared.denials import DenialKind
from shared.handle import Guards, handle
from shared.log.append import AsOf, Context, Fence
from shared.log.log import Log, Stream


class Consents:
    """What can be done with consents. Every change answers its position in the log."""

    def __init__(self, log: Log, questions: Questions) -> None:
        self._log = log
        self._questions = questions

    async def of(self, sub: str) -> dict[str, tuple[str, ...]]:
        """What a user has allowed, by application."""
        return await self._questions.consents_of(sub)

    async def count(self, client_id: str) -> int:
        """How many users have allowed an application something."""
        return await self._questions.consents_to(client_id)

    async def give(self, session: SessionRow, client_id: str, scopes: tuple[str, ...], context: Context) -> int:
        """Remember what was allowed in this session; 0 if nothing was new.

        Refused if the session, its user or an earlier consent has been denied since the session was looked at: the
        answer of somebody whose session was just ended must not stay behind.
        """
        sub = session.user.sub
        fence = Fence(
            AsOf(session.user.epoch, {"identity": max(session.position, session.consent_position)}),
            (
                (DenialKind.SUBJECT, sub),
                (DenialKind.SUBJECT_SESSIONS, sub),
                (DenialKind.SESSION, session.sid),
            ),
        )

        async def guarding(_: Stream) -> Guards:
            return Guards(fence=fence)

        command = GiveConsent(sub, client_id, scopes)
        handled = await handle(
            self._log,
            CONSENT,
            consent_id(sub, client_id),
            command,
            context=context,
            project=project,
            guarding=guarding,
        )
        return handled.position

    async def withdraw(self, sub: str, client_id: str, context: Context) -> int:
        """Stop an application: the user's grants to it end."""
        command = WithdrawConsent(sub, client_id)
        handled = await handle(
            self._log, CONSENT, consent_id(sub, client_id), command, context=context, project=project
        )
        return handled.position

"""What stands against which id: the dictionaries that a check looks into.

Their size is bounded. Strangers can sign in and out in loops, and each time leave a denial that has to be kept until
the last token that it could match has ended. Where a kind has too many, the older half of them becomes one: a floor,
which denies every token with an id of that kind that was issued up to there. That denies too much and never too little;
who has such a token gets another one by refreshing it. It is sound for tokens, grants and sessions because the log
issues nothing for them after their end (the fence sees to that), and for others where all that stands is a cut-off.
"""

from math import inf
from typing import Any

import msgspec

from stagedoor.denial import Denial, DenialKind, DenialRule
from stagedoor.token import AccessToken
from stagedoor.verdict import Reason

_MOST_SPARED = 8
"""Sessions of one subject that cut-offs spare; with more, none is spared."""
_ENDED_FOR_GOOD = frozenset({DenialKind.TOKEN, DenialKind.GRANT, DenialKind.SESSION})
_COLLAPSING = _ENDED_FOR_GOOD | {DenialKind.SUBJECT, DenialKind.SUBJECT_CLIENT, DenialKind.CLIENT}
"""Of the others there are as many as there are keys and applications."""
_LONG_LIVED = frozenset(
    {DenialKind.SUBJECT, DenialKind.SUBJECT_CLIENT, DenialKind.CLIENT, DenialKind.CLIENT_REFERENCES}
)
"""Kinds that match several tokens, so that a long-lived one may be alive when a denial is given up."""


class _Mark(msgspec.Struct, gc=False):
    """What stands against one id."""

    standing: bool = False
    decided_by: int = 0
    """Number of the denial that last set or lifted `standing`."""
    cut_off: int = 0
    """Tokens issued up to this position are denied; 0: none."""
    position: int = 0
    """Of the last denial."""
    forget_at: float = 0.0
    """Seconds since 1970; infinite where it is not known to become pointless."""

    def denies(self, pos: int) -> bool:
        """Whether it stands against a token that was issued at this position."""
        return self.standing or pos <= self.cut_off


class Tables:
    """The dictionaries by kind. Applying denials to them gives the same in any order: the later number wins.

    One thread changes them; any may read. So what denies is there before what it takes the place of is gone.
    """

    def __init__(self, most: int) -> None:
        """`most` of each kind."""
        self.marks: dict[DenialKind, dict[str, _Mark]] = {kind: {} for kind in DenialKind}
        # The same by name: a check asks them all, and looking up the kind first would cost as much as the rest.
        self.tokens = self.marks[DenialKind.TOKEN]
        self.grants = self.marks[DenialKind.GRANT]
        self.sessions = self.marks[DenialKind.SESSION]
        self.subjects = self.marks[DenialKind.SUBJECT]
        self.pairs = self.marks[DenialKind.SUBJECT_CLIENT]
        self.clients = self.marks[DenialKind.CLIENT]
        self.references = self.marks[DenialKind.CLIENT_REFERENCES]
        self.keys = self.marks[DenialKind.KEY]
        self.by_subject: dict[str, dict[str | None, _Mark]] = {}
        """For `SUBJECT_SESSIONS`: by subject, then by the session that stays."""
        self.named: set[str] = set()
        """The ids in all of these tables, for a pair its subject; perhaps some that have gone meanwhile. A token that
        has none of them needs no look into the tables."""
        self.floor = 0
        """The highest of the floors; 0 where nothing has collapsed."""
        self.collapsed = 0
        """How often a kind has."""
        self._floors: dict[DenialKind, tuple[int, float]] = {}
        """Position, and when the floor becomes pointless."""
        self._most = most
        self._limits = dict.fromkeys(DenialKind, most)

    def apply(self, denial: Denial) -> None:
        """Take one in."""
        self.named.add(_name(denial.kind, denial.id))
        if denial.kind is DenialKind.SUBJECT_SESSIONS:
            self._apply_to_sessions(denial)
            return
        table = self.marks[denial.kind]
        if denial.rule is not DenialRule.LIFTED:
            _deny(table, denial.id, denial)
            if len(table) > self._limits[denial.kind] and denial.kind in _COLLAPSING:
                self._collapse(denial.kind)
        elif denial.kind is not DenialKind.KEY:
            mark = table.get(denial.id)
            if mark is None:
                mark = table[denial.id] = _Mark()
            _lift(mark, denial)

    def prune(self, before: float) -> tuple[int, bool]:
        """Forget what can match no live token any more.

        Answers how much that was, and whether it might have stood against a token that lives longer.
        """
        dropped, long_lived = 0, False
        for kind, table in self.marks.items():
            for name in [name for name, mark in table.items() if _pointless(mark, before)]:
                mark = table.pop(name)
                long_lived = long_lived or (kind in _LONG_LIVED and (mark.standing or mark.cut_off > 0))
                dropped += 1
            self._limits[kind] = max(self._most, min(self._limits[kind], len(table) + self._most // 2))
        for subject, marks in list(self.by_subject.items()):
            for spared in [spared for spared, mark in marks.items() if _pointless(mark, before)]:
                del marks[spared]
                dropped += 1
            if not marks:
                del self.by_subject[subject]
        self._floors = {kind: floor for kind, floor in self._floors.items() if floor[1] > before}
        self.floor = max((position for position, _ in self._floors.values()), default=0)
        self._name_anew()
        return dropped, long_lived

    def below(self, token: AccessToken) -> Reason | None:
        """What a token that was issued up to `floor` is denied for, if anything.

        A reference token is not: it lives too long for that, so whoever knows it has to ask about it anew.
        """
        said = token.said
        for kind, (position, _) in self._floors.items():
            if said.pos > position:
                continue
            if kind is DenialKind.TOKEN:
                return Reason.DENIED_TOKEN
            if kind is DenialKind.CLIENT:
                return Reason.DENIED_CLIENT
            if kind is DenialKind.SUBJECT:
                return Reason.DENIED_SUBJECT
            if kind is DenialKind.SUBJECT_CLIENT or (kind is DenialKind.GRANT and said.gid is not None):
                return Reason.DENIED_GRANT
            if kind in (DenialKind.SESSION, DenialKind.SUBJECT_SESSIONS) and said.sid is not None:
                return Reason.DENIED_SESSION
        return None

    def __len__(self) -> int:
        return sum(map(len, self.marks.values())) + sum(map(len, self.by_subject.values()))

    def _apply_to_sessions(self, denial: Denial) -> None:
        marks = self.by_subject.get(denial.id)
        if marks is None:
            marks = self.by_subject[denial.id] = {}
        if denial.rule is DenialRule.LIFTED:
            # It ends what stands against the subject, whichever session each of them spared.
            for mark in marks.values():
                _lift(mark, denial)
            return
        _deny(marks, denial.except_id, denial)
        if len(marks) > _MOST_SPARED:
            self.by_subject[denial.id] = {None: _together(list(marks.values()))}
            self.collapsed += 1
        if len(self.by_subject) > self._limits[DenialKind.SUBJECT_SESSIONS]:
            self._collapse_sessions()

    def _collapse(self, kind: DenialKind) -> None:
        table = self.marks[kind]
        standing = kind in _ENDED_FOR_GOOD
        positions = sorted(mark.position for mark in table.values() if standing or not mark.standing)
        if positions:
            floor = positions[len(positions) // 2]
            gone = [name for name, mark in table.items() if mark.position <= floor and (standing or not mark.standing)]
            self._set_floor(kind, floor, max(table[name].forget_at for name in gone))
            for name in gone:
                del table[name]
            self._name_anew()
        self._limits[kind] = max(self._most, len(table) + self._most // 2)

    def _collapse_sessions(self) -> None:
        kind = DenialKind.SUBJECT_SESSIONS
        latest = {
            subject: max(mark.position for mark in marks.values())
            for subject, marks in self.by_subject.items()
            if marks and not any(mark.standing for mark in marks.values())
        }
        if latest:
            floor = sorted(latest.values())[len(latest) // 2]
            gone = [subject for subject, position in latest.items() if position <= floor]
            until = max(mark.forget_at for subject in gone for mark in self.by_subject[subject].values())
            self._set_floor(kind, floor, until)
            for subject in gone:
                del self.by_subject[subject]
            self._name_anew()
        self._limits[kind] = max(self._most, len(self.by_subject) + self._most // 2)

    def _set_floor(self, kind: DenialKind, position: int, forget_at: float) -> None:
        before, until = self._floors.get(kind, (0, 0.0))
        self._floors = {**self._floors, kind: (max(before, position), max(until, forget_at))}
        self.floor = max(self.floor, position)
        self.collapsed += 1

    def _name_anew(self) -> None:
        """Let go of ids of what is gone."""
        named = {_name(kind, name) for kind, table in self.marks.items() for name in table}
        self.named = named | self.by_subject.keys()


def _name(kind: DenialKind, name: str) -> str:
    """The id that a token has which this may stand against: of a pair that of the subject, which has no space in it."""
    return name.partition(" ")[0] if kind is DenialKind.SUBJECT_CLIENT else name


def _deny(table: dict[Any, _Mark], name: str | None, denial: Denial) -> None:
    mark = table.get(name)
    new = _Mark() if mark is None else mark
    if denial.rule is DenialRule.CUT_OFF:
        new.cut_off = max(new.cut_off, denial.position)
    elif denial.number >= new.decided_by:
        new.standing, new.decided_by = True, denial.number
    new.position = max(new.position, denial.position)
    new.forget_at = max(new.forget_at, inf if denial.until is None else denial.until.timestamp())
    if mark is None:
        table[name] = new


def _lift(mark: _Mark, denial: Denial) -> None:
    if denial.number >= mark.decided_by:
        mark.standing, mark.decided_by = False, denial.number


def _together(marks: list[_Mark]) -> _Mark:
    """One mark that denies what any of these does."""
    return _Mark(
        standing=any(mark.standing for mark in marks),
        decided_by=max(mark.decided_by for mark in marks),
        cut_off=max(mark.cut_off for mark in marks),
        position=max(mark.position for mark in marks),
        forget_at=max(mark.forget_at for mark in marks),
    )


def _pointless(mark: _Mark, before: float) -> bool:
    return mark.forget_at <= before or not (mark.standing or mark.cut_off)

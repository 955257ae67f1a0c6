"""What came of a run, for a terminal."""

from dataclasses import dataclass, field

from tests.chaos.journal import Journal, Outcome
from tests.chaos.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run."""

    seed: int
    seconds: float
    journal: Journal
    faults: tuple[str, ...]
    left_out: tuple[str, ...]
    effects: dict[str, int]
    slowest: float
    verdict: Verdict
    held: list[str] = field(default_factory=list)
    """What was looked at in the end, and is as it should be."""

    @property
    def clean(self) -> bool:
        """Whether nothing was lost or doubled, and nothing else went wrong."""
        return self.verdict.clean

    def lines(self) -> list[str]:
        """The report, for a terminal."""
        kinds = ", ".join(f"{count} {what}" for what, count in sorted(self.journal.kinds().items()))
        numbers = {
            "tried": len(self.journal.operations),
            **{outcome.value: self.journal.count(outcome) for outcome in Outcome},
            "lost": len(self.verdict.lost),
            "doubled": len(self.verdict.doubled),
            "wrong otherwise": len(self.verdict.wrong),
        }
        return [
            f"seed {self.seed}, {self.seconds:.0f} s, {len(self.faults)} faults: {', '.join(self.faults)}",
            *(f"left out: {one}" for one in self.left_out),
            *(f"{what}: {count}" for what, count in self.effects.items()),
            f"ready again within {self.slowest:.1f} s at the longest",
            f"acknowledged: {kinds}",
            *(f"operations {name:16} {number:6}" for name, number in numbers.items()),
            *(f"held: {one}" for one in self.held),
            *(f"  lost: {one}" for one in self.verdict.lost),
            *(f"  doubled: {one}" for one in self.verdict.doubled),
            *(f"  wrong: {one}" for one in self.verdict.wrong),
        ]

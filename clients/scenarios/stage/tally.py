"""What was tried, counted: a run that tried too little has shown nothing."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median

ALL = "together"


class Tally:
    """Counts, and the gaps that were measured, by what and by language."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._gaps: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, what: str, language: str = ALL, number: int = 1) -> None:
        """Count something that was tried."""
        self._counts[what, language] += number

    def gap(self, what: str, language: str, nanoseconds: int) -> None:
        """Note a measured time."""
        self._gaps[what, language].append(nanoseconds / 1e6)

    def need(self, number: int, what: str, language: str = ALL) -> None:
        """Fail where fewer were tried."""
        tried = self._counts[what, language]
        assert tried >= number, f"{what}, {language}: only {tried} of {number} were tried"

    def lines(self, languages: Sequence[str]) -> list[str]:
        """Return it all as a table."""
        columns = (*languages, ALL)
        whats = list(dict.fromkeys(what for what, _ in self._counts))
        width = max((len(what) for what in whats), default=0)
        lines = [" ".join([f"{'tried':{width}}", *(f"{each:>9}" for each in columns)])]
        for what in whats:
            counts = (self._counts.get((what, each), "") for each in columns)
            lines.append(" ".join([f"{what:{width}}", *(f"{count:>9}" for count in counts)]))
        for (what, language), gaps in sorted(self._gaps.items()):
            least, most = min(gaps), max(gaps)
            lines.append(
                f"{what}, {language}: {least:.1f} / {median(gaps):.1f} / {most:.1f} ms "
                f"(minimum / median / maximum of {len(gaps)})"
            )
        return lines

"""How figures are written, the same on the terminal and on the page: seconds, money, tokens, clock times."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime


def seconds(value: float) -> str:
    """`0.4 ms`, `412 ms`, `3.42 s`, `2 m 05 s`."""
    if value < 0.00095:
        return f"{value * 1e3:.1f} ms" if value >= 0.00005 else "0 ms"
    if value < 0.9995:
        return f"{value * 1e3:.0f} ms"
    if value < 59.995:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} m {rest:02d} s"


def money(amount: float, currency: str) -> str:
    """Three significant digits, never in exponents, with the sender's currency: `0.00312 USD`."""
    if amount == 0:
        return f"0 {currency}".rstrip()
    if abs(amount) < 1e-6:
        return f"<0.000001 {currency}".rstrip()
    digits = 2
    while digits < 7 and abs(amount) * 10**digits < 100:
        digits += 1
    written = f"{amount:,.{digits}f}"
    if digits > 2:
        written = written.rstrip("0")
    return f"{written} {currency}".rstrip()


def bill(cost: Mapping[str, float]) -> str:
    return " + ".join(money(amount, currency) for currency, amount in cost.items())


def count(figure: int, one: str, many: str = "") -> str:
    return f"{figure:,} {one if figure == 1 else many or one + 's'}"


def clock(time_ns: int) -> str:
    """The local time of day."""
    return datetime.fromtimestamp(time_ns / 1e9).strftime("%H:%M:%S")


def iso(time_ns: int) -> str:
    """UTC, to the microsecond. A time no calendar knows becomes the epoch."""
    try:
        moment = datetime.fromtimestamp(time_ns / 1e9, UTC)
    except (OverflowError, ValueError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

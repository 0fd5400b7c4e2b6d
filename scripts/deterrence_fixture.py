#!/usr/bin/env python3
"""Make crates/ledger/tests/fixtures/deterrence.txt anew: the deterrence condition in exact rational arithmetic.

    v * (1 - (1-q)^(A+1)) + q*B >= 1

Lines: `bond v q A least` (least bond in 1/10 000 claims that satisfies it), and
`life q A B v honest cheat` (income of a window in 1/1 000 of its honest cost, from the renewal model:
a faker of everything re-enters free; a catch costs what is pending and the bond). Standard library only.
"""
from fractions import Fraction
from pathlib import Path

ONE = 10_000


def least_bond(v, q, windows):
    v, q = Fraction(v, ONE), Fraction(q, ONE)
    missing = 1 - v * (1 - (1 - q) ** (windows + 1))
    return 0 if missing <= 0 else -((-missing * ONE / q) // 1)


def cheat_income(q, windows, bond, v):
    """Expected income of a window: v*(1-q)^(A+1) - B*q, by renewal over lives."""
    v, q = Fraction(v, ONE), Fraction(q, ONE)
    return v * (1 - q) ** (windows + 1) - bond * q


lines = []
for q in (50, 100, 200, 500, 1000):
    for windows in (0, 20, 50, 100, 200, 400):
        for v in (10_000, 11_000, 20_000):
            lines.append(f"bond {v} {q} {windows} {least_bond(v, q, windows)}")
for q, windows, bond in ((200, 100, 0), (200, 100, 3), (200, 200, 0), (50, 200, 0), (50, 200, 62)):
    cheat = cheat_income(q, windows, bond, 11_000)
    lines.append(f"life {q} {windows} {bond} 11000 100 {round(cheat * 1000)}")
path = Path(__file__).parent.parent / "crates/ledger/tests/fixtures/deterrence.txt"
path.write_text("\n".join(lines) + "\n")
print(f"{len(lines)} lines in {path}")

#!/usr/bin/env python3
"""Make the test vectors of risk weights: crates/ledger/tests/fixtures/weights.txt.

A reference model of ownership specification 4.2 in exact rational and 60-digit decimal arithmetic, written apart
from the Rust code. Run it from the root of the repository; the result is always the same.

Lines: `history RULE PERCENT HALF_LIFE LOSS_0 F_STAR` begins a history; each `w LOSS F_DONE WEIGHT` that follows is a
window closed with that loss after that work, and the weight of the next. `parts` lines: shares of a textbook loss
curve (8B parameters, 1.5e12 tokens, 1000 windows) by rule, in 1/100 000 of all: first 1 %, 2 %, 10 %, last 50 %.
"""
import math
import random
from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 60
ONE = 1 << 16


def decay(done, half_life):
    return int(Decimal(ONE) * Decimal(2) ** (-(Decimal(done) / Decimal(half_life))))


def weight(rule, percent, half_life_percent, loss_0, f_star, loss_min, done, before):
    ratio = ONE * loss_min // loss_0
    if rule == "blend":
        half_life = max(1, f_star * half_life_percent // 100)
        # Rational so that the two terms are mixed before anything is rounded.
        mixed = Fraction(percent * ratio + (100 - percent) * decay(done, half_life), 100)
        ratio = mixed.numerator // mixed.denominator
    return min(before, max(ONE // 16, min(ONE, ratio)))


def histories(out):
    rng = random.Random(42)
    for index in range(60):
        rule = "proportional" if index % 3 == 0 else "blend"
        percent, half = rng.randrange(101), 1 + rng.randrange(100)
        loss_0 = rng.choice([11_000_000, 11_761_785, 1, 4_294_967_295, rng.randrange(1, 20_000_000)])
        f_star = rng.choice([1000, 10**9, 1 << 62, rng.randrange(1, 1 << 40)])
        out.append(f"history {rule} {percent} {half} {loss_0} {f_star}")
        least, done, now = loss_0, 0, ONE
        for _ in range(25):
            loss = min(4_294_967_295, max(1, int(least * rng.uniform(0.7, 1.2))))
            done = min(1 << 62, done + rng.randrange(1 + f_star // 12))
            least = min(least, loss)
            now = weight(rule, percent, half, loss_0, f_star, least, done, now)
            out.append(f"w {loss} {done} {now}")


def curve(windows=1000, parameters=8e9, tokens=1.5e12, vocabulary=128256):
    start = math.log(vocabulary)
    losses = []
    for window in range(windows):
        seen = tokens * window / windows
        value = start if seen == 0 else 1.69 + 406.4 / parameters**0.34 + 410.7 / seen**0.28
        losses.append(round(1e6 * min(start, value)))
    return losses


def parts(out):
    losses = curve()
    out.append("curve " + " ".join(str(loss) for loss in losses))
    for rule, percent, half in [("proportional", 0, 1), ("blend", 50, 25), ("blend", 25, 25), ("blend", 0, 25), ("blend", 0, 10)]:
        least, now, weights = losses[0], ONE, []
        for window, loss in enumerate(losses):
            # Weight of a window from the losses up to its start and the work before it.
            least = min(least, loss)
            now = weight(rule, percent, half, losses[0], len(losses), least, window, now)
            weights.append(now)
        total = sum(weights)
        share = lambda some: 100_000 * sum(some) // total
        figures = [share(weights[:10]), share(weights[:20]), share(weights[:100]), share(weights[500:])]
        out.append(f"parts {rule} {percent} {half} " + " ".join(map(str, figures)))


def main():
    out = []
    histories(out)
    parts(out)
    with open("crates/ledger/tests/fixtures/weights.txt", "w", encoding="ascii") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()

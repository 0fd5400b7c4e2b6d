#!/usr/bin/env python3
"""Write the vectors that the ledger's credits are tested against, from a model that shares no code with it.

Usage: scripts/make_credit_fixtures.py crates/ledger/tests/fixtures [HISTORIES STEPS]
Two models, both of one run with exact integers:
  credits.txt      owners, notes, locks, pool, series and supply: histories of random steps (40 of 100), the sums after each
  accumulator.txt  shares that change while the pool is distributed: as many histories, what each owner may claim
A line of credits.txt is `op args | pool total notes locked owed expired_total`; see src/credits/oracle.rs.
"""
import random
import sys
from pathlib import Path

ONE = 1 << 128


class Pot:
    """Pay a per-share accumulator with a carried remainder."""

    def __init__(self):
        self.acc, self.rem, self.total, self.owners = 0, 0, 0, {}

    def touch(self, name):
        owner = self.owners.setdefault(name, {"shares": 0, "seen": self.acc, "frac": 0, "due": 0})
        earned = (self.acc - owner["seen"]) * owner["shares"] + owner["frac"]
        owner["due"] += earned >> 128
        owner["frac"] = earned % ONE
        owner["seen"] = self.acc
        return owner

    def change(self, name, shares):
        owner = self.touch(name)
        owner["shares"] += shares
        self.total += shares

    def distribute(self, amount):
        number = (amount << 128) + self.rem
        self.acc += number // self.total
        self.rem = number % self.total

    def claim(self, name):
        owner = self.touch(name)
        due, owner["due"] = owner["due"], 0
        return due


def step_supply(total, pool, target):
    if target > total:
        return min(target - total, total // 4096), 0
    return 0, min(total - target, pool // 4)


class Run:
    """The credits of one run: constants of the policy are parameters of the history."""

    def __init__(self, owners, supply):
        self.pot = Pot()
        for name, shares in enumerate(owners):
            self.pot.change(name, shares)
        self.pool = self.total = supply
        self.notes, self.locks = [], []
        self.owed = self.expired = self.series = 0

    def boundary(self, target, turn):
        if turn:
            self.series += 1
            dead = [note for note in self.notes if note[1] + 1 < self.series]
            self.notes = [note for note in self.notes if note[1] + 1 >= self.series]
            gone = sum(note[0] for note in dead)
            self.pool += gone
            self.expired += gone
        more, less = step_supply(self.total, self.pool, target)
        self.pool += more - less
        self.total += more - less
        self.pot.distribute(self.pool)
        self.owed += self.pool
        self.pool = 0

    def line(self):
        notes, locked = sum(n[0] for n in self.notes), sum(n[0] for n in self.locks)
        assert self.pool + notes + locked + self.owed == self.total
        return f"| {self.pool} {self.total} {notes} {locked} {self.owed} {self.expired}"


def credits(seed, steps):
    rng = random.Random(seed)
    owners = [rng.randrange(1, 10**9) for _ in range(5)]
    run = Run(owners, 100_000)
    lines = [f"run {' '.join(map(str, owners))} {run.line()}"]
    for _ in range(steps):
        kind = rng.random()
        live = run.notes
        if kind < 0.2:
            owner = rng.randrange(5)
            due = run.pot.claim(owner)
            run.owed -= due
            if due:
                run.notes.append([due, run.series])
            lines.append(f"claim {owner} {due} {run.line()}")
        elif kind < 0.35 and live:
            at = rng.randrange(len(live))
            cu, series = live.pop(at)
            cut = rng.randrange(0, cu + 1)
            run.notes += [[part, series] for part in (cut, cu - cut) if part]
            lines.append(f"split {at} {cut} {run.line()}")
        elif kind < 0.5 and live:
            at = rng.randrange(len(live))
            note = live.pop(at)
            run.locks.append(note)
            lines.append(f"lock {at} {run.line()}")
        elif kind < 0.65 and run.locks:
            at = rng.randrange(len(run.locks))
            cu, series = run.locks.pop(at)
            used = rng.randrange(0, cu + 1)
            run.pool += used
            if cu - used and series + 1 >= run.series:
                run.notes.append([cu - used, series])
            else:
                run.pool += cu - used
            lines.append(f"settle {at} {used} {run.line()}")
        elif kind < 0.75 and any(note[1] + 1 == run.series for note in live):
            at = rng.choice([i for i, note in enumerate(live) if note[1] + 1 == run.series])
            cu, _ = live.pop(at)
            haircut = -(-cu // 10)
            run.pool += haircut
            if cu - haircut:
                run.notes.append([cu - haircut, run.series])
            lines.append(f"roll {at} {run.line()}")
        else:
            target, turn = rng.choice([90_000, 100_000, 110_000]), rng.random() < 0.25
            run.boundary(target, turn)
            lines.append(f"epoch {target} {int(turn)} {run.line()}")
    return lines


def accumulator(seed, steps):
    rng = random.Random(seed)
    pot, lines = Pot(), []
    pot.change(0, rng.randrange(1, 1 << 40))
    lines.append(f"give 0 {pot.total}")
    for _ in range(steps * 3 // 5):
        kind, name = rng.random(), rng.randrange(6)
        if kind < 0.3:
            amount = rng.randrange(1, 1 << rng.randrange(1, 60))
            pot.change(name, amount)
            lines.append(f"give {name} {amount}")
        elif kind < 0.4 and name in pot.owners and pot.total > pot.owners[name]["shares"] > 0:
            amount = rng.randrange(1, pot.owners[name]["shares"] + 1)
            pot.change(name, -amount)
            lines.append(f"take {name} {amount}")
        elif kind < 0.75:
            amount = rng.randrange(1, 1 << rng.randrange(1, 40))
            pot.distribute(amount)
            lines.append(f"pay {amount} {pot.rem}")
        elif name in pot.owners:
            due = pot.claim(name)
            lines.append(f"claim {name} {due} {pot.owners[name]['frac']}")
    return lines


def main():
    folder = Path(sys.argv[1])
    histories, steps = (int(word) for word in sys.argv[2:4]) if len(sys.argv) > 2 else (40, 100)
    for name, model in (("credits", credits), ("accumulator", accumulator)):
        blocks = ["\n".join(model(seed, steps)) for seed in range(histories)]
        (folder / f"{name}.txt").write_text("\n\n".join(blocks) + "\n")


main()

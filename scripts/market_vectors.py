#!/usr/bin/env python3
"""Write crates/ledger/tests/fixtures/market_clearing.txt: books and their results by a model of the auction.

The model follows section 5.2 of the ownership specification literally, with sets and sums, and shares no code with
the ledger. Chance is replaced: orders of a level stand in the order listed, and the phase of a side is a given number
modulo the level's units. Run it from the root of the repository; the output does not change between runs.

One book a line:  reserve | bids price:units ... | asks price:units ... | phase of bids, of asks | price volume | fills
"""
import random

PATH = "crates/ledger/tests/fixtures/market_clearing.txt"


def result(bids, asks, reserve, phases):
    asks = [(max(price, reserve), units) for price, units in asks]
    prices = sorted({p for p, _ in bids} | {p for p, _ in asks})

    def demand(p):
        return sum(units for price, units in bids if price >= p)

    def supply(p):
        return sum(units for price, units in asks if price <= p)

    volume = max((min(demand(p), supply(p)) for p in prices), default=0)
    if volume == 0:
        return 0, 0, [0] * (len(bids) + len(asks))
    attain = [p for p in prices if min(demand(p), supply(p)) == volume]
    least = min(abs(demand(p) - supply(p)) for p in attain)
    attain = [p for p in attain if abs(demand(p) - supply(p)) == least]
    even = [p for p in attain if demand(p) == supply(p)]
    buyers = [p for p in attain if demand(p) > supply(p)]
    sellers = [p for p in attain if demand(p) < supply(p)]
    if even:
        price = (min(even) + max(even)) // 2
    elif buyers and sellers:
        price = (max(buyers) + min(sellers)) // 2
    else:
        price = max(buyers) if buyers else min(sellers)

    def side(orders, eligible, best_first, phase):
        fills, rest = [0] * len(orders), volume
        for level in sorted({p for p, _ in orders if eligible(p)}, reverse=best_first):
            members = [i for i, (p, _) in enumerate(orders) if p == level]
            total = sum(orders[i][1] for i in members)
            if total <= rest:
                for i in members:
                    fills[i] = orders[i][1]
                rest -= total
            elif rest > 0:
                u, position = phase % total, 0
                for i in members:
                    end = position + orders[i][1]
                    fills[i] = (end * rest + u) // total - (position * rest + u) // total
                    position = end
                rest = 0
        assert rest == 0
        return fills

    fills = side(bids, lambda p: p >= price, True, phases[0]) + side(asks, lambda p: p <= price, False, phases[1])
    return price, volume, fills


def text(orders):
    return " ".join(f"{price}:{units}" for price, units in orders)


def main():
    rng = random.Random(20)
    books = [
        ([(120, 40), (110, 30), (100, 50), (100, 30), (80, 60)], [(70, 90), (95, 20), (130, 25)], 60, (0, 0)),
    ]
    for number in range(600):
        dear, large = rng.choice([(5, 10), (20, 30), (1000, 10**6), (10**18, 10**24)])
        def orders():
            return [(rng.randrange(1, dear + 1), rng.randrange(1, large + 1)) for _ in range(rng.randrange(0, 9))]
        phases = (rng.randrange(2**64), rng.randrange(2**64))
        books.append((orders(), orders(), rng.randrange(1, dear // 2 + 2), phases))
    with open(PATH, "w") as file:
        for bids, asks, reserve, phases in books:
            price, volume, fills = result(bids, asks, reserve, phases)
            parts = [str(reserve), text(bids), text(asks), f"{phases[0]} {phases[1]}", f"{price} {volume}"]
            file.write(" | ".join(parts + [" ".join(map(str, fills))]) + "\n")


if __name__ == "__main__":
    main()

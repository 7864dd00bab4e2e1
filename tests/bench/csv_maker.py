"""Writes a large table: csv_maker.py FILE MIB

Every row is another: numbers of several forms, words, booleans and dates, by a seed; a tenth of the
numbers is missing.  Text is made by columns of digits, so that a gigabyte takes seconds.
"""

import sys

import numpy as np

ROWS = 200000  # at a time
DAYS = [str(day) for day in np.arange("2015-01-01", "2025-01-01", dtype="datetime64[D]")]
WORDS = [f"{a}{b}" for a in "red green blue light-grey".split() for b in range(50)]


def digits(rng, form):
    """Cells of one form, in which each 0 is a random digit: rows x len(form)."""
    cells = np.tile(np.frombuffer(form.encode(), np.uint8), (ROWS, 1))
    for i, letter in enumerate(form):
        if letter == "0":
            cells[:, i] = rng.integers(ord("1") if i == 0 else ord("0"), ord("9") + 1, ROWS)
    return cells


def words(rng, among):
    wide = np.array(among, dtype=bytes)
    return wide[rng.integers(0, len(among), ROWS)].view(np.uint8).reshape(ROWS, -1)


def missing(rng, cells):
    """A tenth of them empty: bytes that are 0 are left out of the file."""
    cells[rng.random(ROWS) < 0.1] = 0
    return cells


def block(rng):
    numbers = [missing(rng, digits(rng, form)) for form in ("000", "00000", "000.00", "-0.000000", "0.000", "0000000.00")]
    columns = [*numbers, words(rng, WORDS), words(rng, ["true", "false"]), words(rng, ["low", "middle", "high"])]
    columns.append(words(rng, DAYS))
    parts = []
    for i, column in enumerate(columns):
        parts += [column, np.full((ROWS, 1), ord("\n" if i + 1 == len(columns) else ","), np.uint8)]
    text = np.concatenate(parts, axis=1)
    return text[text != 0].tobytes()


def main():
    path, left = sys.argv[1], int(sys.argv[2]) << 20
    rng = np.random.default_rng(1)
    with open(path, "wb") as file:
        file.write(b"a,b,c,d,e,f,colour,member,level,day\n")
        while left > 0:
            left -= file.write(block(rng))
    print("{}")


if __name__ == "__main__":
    main()

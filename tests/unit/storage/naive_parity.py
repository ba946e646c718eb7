"""The same codes once more, a byte at a time and from the definitions.

XOR is a sum. Reed–Solomon is the systematic code of a Vandermonde matrix over GF(2^8) with the
polynomial x^8 + x^4 + x^3 + x^2 + 1: Rizzo, Effective erasure codes for reliable computer
communication protocols, 1997.
"""

from __future__ import annotations

from collections.abc import Sequence

from heliograph.storage.values import Code, Scheme

POLYNOMIAL = 0x11D


def times(left: int, right: int) -> int:
    """Product in the field, as of polynomials."""
    product = 0
    while right:
        if right & 1:
            product ^= left
        left <<= 1
        if left & 0x100:
            left ^= POLYNOMIAL
        right >>= 1
    return product


def power(base: int, exponent: int) -> int:
    result = 1
    for _ in range(exponent):
        result = times(result, base)
    return result


def inverse(value: int) -> int:
    return next(other for other in range(1, 256) if times(value, other) == 1)


def inverted(matrix: list[list[int]]) -> list[list[int]]:
    """By Gauss and Jordan."""
    size = len(matrix)
    rows = [row[:] + [int(i == j) for j in range(size)] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = next(row for row in range(column, size) if rows[row][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        scale = inverse(rows[column][column])
        rows[column] = [times(value, scale) for value in rows[column]]
        for row in range(size):
            if row != column and rows[row][column]:
                factor = rows[row][column]
                rows[row] = [
                    one ^ times(factor, other)
                    for one, other in zip(rows[row], rows[column], strict=True)
                ]
    return [row[size:] for row in rows]


def multiplied(left: list[list[int]], right: list[list[int]]) -> list[list[int]]:
    return [
        [
            sum_of(times(row[k], right[k][column]) for k in range(len(right)))
            for column in range(len(right[0]))
        ]
        for row in left
    ]


def sum_of(values: object) -> int:
    total = 0
    for value in values:  # type: ignore[attr-defined]
        total ^= value
    return total


def redundant_rows(data: int, parity: int) -> list[list[int]]:
    """Coefficients of the redundant members."""
    matrix = [[int(column == 0) for column in range(data)]]
    matrix += [
        [power(2, row * column) for column in range(data)] for row in range(data + parity - 1)
    ]
    return multiplied(matrix[data:], inverted(matrix[:data]))


def encode(scheme: Scheme, payloads: Sequence[bytes]) -> list[bytes]:
    longest = max(len(one) for one in payloads)
    padded = [one.ljust(longest, b"\0") for one in payloads]
    padded += [bytes(longest)] * (scheme.data - len(padded))
    if scheme.code is Code.COPIES:
        return padded * scheme.parity
    rows = (
        [[1] * scheme.data]
        if scheme.code is Code.XOR
        else redundant_rows(scheme.data, scheme.parity)
    )
    return [
        bytes(
            sum_of(times(row[member], padded[member][at]) for member in range(scheme.data))
            for at in range(longest)
        )
        for row in rows[: scheme.parity]
    ]

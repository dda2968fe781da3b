"""Seeded faults in what measures: a benchmark that counts wrong, or does not look. `tests.long.mutants` tries them."""

from tests.long.mutant import Mutant

ENDPOINT, TURNS, PERFORMANCE = "benchmarks/endpoint.py", "benchmarks/turns.py", "benchmarks/performance.py"
COUNTS, LOSSES = "tests/benchmarks/test_endpoint.py", "tests/benchmarks/test_sending.py -k 'lost_something'"
PAGE = "tests/benchmarks/test_performance.py"

BENCHMARKS = (
    Mutant(
        "endpoint-bills-twice",
        "the endpoint bills a picture once",
        ENDPOINT,
        "self.books.billed_micros += self.price_micros",
        "self.books.billed_micros += 2 * self.price_micros",
        COUNTS,
    ),
    Mutant(
        "endpoint-counts-what-broke-off",
        "a request is counted when its last byte is here",
        ENDPOINT,
        "            self._body_left -= taken\n            if self._body_left:\n                return\n",
        "            self._body_left -= taken\n            if self._body_left > 1:\n                return\n",
        COUNTS,
    ),
    Mutant(
        "endpoint-same-picture",
        "no two answers hold the same picture",
        ENDPOINT,
        "return head + self.pictures.beginning(self.served)",
        "return head + self.pictures.beginning(1)",
        COUNTS,
    ),
    Mutant(
        "endpoint-frees-who-went-away",
        "who went away before the answer is billed",
        ENDPOINT,
        "        beginning = self._endpoint.picture()\n        if self._transport is None:\n            return\n",
        "        if self._transport is None:\n            return\n        beginning = self._endpoint.picture()\n",
        COUNTS,
    ),
    Mutant(
        "turn-without-check",
        "a turn that lost something ends the benchmark",
        TURNS,
        "        self._check(client, counts, out)\n",
        "",
        LOSSES,
    ),
    Mutant(
        "turn-without-files",
        "a picture that is not on the disk is missed",
        TURNS,
        '"files": (len(files), count),',
        '"files": (count, count),',
        LOSSES,
    ),
    Mutant(
        "turn-without-bytes",
        "a picture that is cut off is noticed",
        TURNS,
        "sum(path.stat().st_size for path in files), count * weight",
        "count * weight, count * weight",
        LOSSES,
    ),
    Mutant(
        "turn-without-books",
        "the ledger must say what the endpoint says",
        TURNS,
        '"micro-units settled": (settled, count * _PRICE_MICROS),',
        "",
        "tests/benchmarks/test_sending.py -k ledger",
    ),
    Mutant(
        "ratio-of-medians",
        "ratios are those within a round",
        TURNS,
        "median([value(a) / value(b) for a, b in zip(of(rounds, client), of(rounds, against), strict=True)])",
        "median([value(a) for a in of(rounds, client)]) / median([value(b) for b in of(rounds, against)])",
        PAGE,
    ),
    Mutant(
        "page-keeps-quiet",
        "what was not reached is said",
        PERFORMANCE,
        '_markdown([["work", "against", "goal", "measured", ""], *goals])',
        '_markdown([["work", "against", "goal", "measured", ""], *(goal for goal in goals if goal[-1] == "reached")])',
        PAGE,
    ),
    Mutant(
        "plans-of-any-size",
        "a larger plan may take no more memory",
        "benchmarks/plan.py",
        "times <= most and megabytes <= LARGE_MB_MOST",
        "times <= most",
        "tests/test_benchmark_plan.py -k larger_tree",
    ),
)

"""faults: hurts a stack of its own, row by row, and shows that nothing acknowledged was lost."""

import asyncio
import sys
from collections.abc import Sequence

from tests.faults.bench import running_bench
from tests.faults.engine import Engine, Result
from tests.faults.rows import all_rows


async def main(arguments: Sequence[str]) -> int:
    rows = all_rows()
    async with running_bench(seed=1, hold_s=1.0) as bench:
        engine = Engine(bench, 1, 0.5)
        for name in arguments or rows:
            result = Result(name, rows[name].title)
            await engine.run(rows[name], result)
            print(result, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))

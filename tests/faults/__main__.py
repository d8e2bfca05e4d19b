"""faults: hurts a stack of its own, row by row, and shows that nothing acknowledged was lost."""

import asyncio
import sys
from collections.abc import Sequence

from tests.faults.bench import running_bench
from tests.faults.rows import all_rows


async def main(arguments: Sequence[str]) -> int:
    rows = all_rows()
    async with running_bench(seed=1, hold_s=1.0) as bench:
        for name in arguments or rows:
            print(name, rows[name].title, flush=True)
            await rows[name].inject(bench)
            bench.heal()
            print(await bench.sql("SELECT sum(position) FROM partitions"))
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))

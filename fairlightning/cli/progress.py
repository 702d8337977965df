"""Where a plan of many jobs stands, and how long it will take."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

T = TypeVar("T")


def run_all(run: Callable[[T], str], jobs: Sequence[T], at_once: int) -> Iterator[str]:
    """Run jobs, several at once in processes of their own, and give what each returns.

    Args:
        run: What to do with a job. With several at once it has to be a function of a module.
        jobs: The jobs, in the order in which they begin.
        at_once: How many run side by side; 1 runs them in this process.

    Yields:
        The result of each, as it ends.
    """
    if at_once == 1 or len(jobs) < 2:
        yield from map(run, jobs)
        return
    parallel = Parallel(n_jobs=min(at_once, len(jobs)), return_as="generator_unordered")
    results: Generator[str] = parallel(delayed(run)(job) for job in jobs)
    try:
        yield from results
    finally:
        # Left to itself the pool outlives its work, and the command waits for it at its end.
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


class PlanProgress:
    """Counts the work that is done, and estimates the rest by its share.

    On a terminal it is a bar; elsewhere a line is printed whenever something is done.

    Args:
        console: Where to.
        total: Work of the whole plan, in any unit.
        done: Work that was done before.
    """

    def __init__(self, console: Console, total: float, done: float = 0.0) -> None:
        self.console, self.total, self.done = console, total, done
        self._before, self._start = done, time.monotonic()
        # Jobs of this process write to a log: the bar keeps to the terminal that it began on.
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, left="")
        self._bar.update(self._task, completed=done)

    @contextmanager
    def shown(self) -> Iterator[PlanProgress]:
        """Show the bar for as long as the block runs."""
        self._say(self._left(), "begins")
        with self._bar:
            yield self

    def advance(self, work: float, text: str) -> None:
        """Note that some work is done."""
        self.done += work
        left = self._left()
        self._bar.update(self._task, completed=self.done, description=text, left=left)
        self._say(left, text)

    def _say(self, left: str, text: str) -> None:
        if not self.console.is_terminal:
            share = 100 * self.done / self.total if self.total else 100.0
            line = f"{share:3.0f} % done, {left}: {text}"
            self.console.print(line, markup=False, highlight=False)
            self.console.file.flush()

    def _left(self) -> str:
        passed, worked = time.monotonic() - self._start, self.done - self._before
        if worked <= 0:
            return "time left unknown"
        seconds = round(passed / worked * max(self.total - self.done, 0))
        return f"{seconds // 60}:{seconds % 60:02d} left"


def fixed_console() -> Console:
    """Console that goes on writing to this stdout while jobs have theirs redirected."""
    console = Console(file=sys.stdout)
    return console if console.is_terminal else Console(file=sys.stdout, width=100)


def work(jobs: Iterable[T], of: Callable[[T], float]) -> float:
    """Sum of the work of jobs."""
    return sum(map(of, jobs))

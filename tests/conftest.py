import random

import numpy as np
import pytest
import torch
from browser import chromium


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Give every test the same random numbers, whatever ran before it in its process.

    A fixture would come after those of the session, which are made for the first test that asks.
    """
    seed = item.config.getoption("seed")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what libraries draw from
    torch.manual_seed(seed)


def pytest_addoption(parser):
    parser.addoption(
        "--seed", type=int, default=0, help="of random numbers; tests must pass with any"
    )


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, for `browser.open_offline`; skips where there is none.

    Not of the whole session: while it is open, nothing else in the process may run an event loop.
    """
    with chromium() as opened:
        yield opened

import pytest
import torch
from helpers import Both


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Both()

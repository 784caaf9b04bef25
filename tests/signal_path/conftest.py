"""What several tests of the signal path compute with."""

import pytest

from tests.support.signal_path import draw


@pytest.fixture
def data():
    """Weights ``[12, 7]`` and inputs ``[5, 12]``."""
    return draw(12, 7), draw(5, 12, seed=21)

import pytest
from known import photograph


@pytest.fixture(scope="session")
def record():
    return photograph()

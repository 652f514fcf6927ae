"""Procgen environments for tests, closed after each."""

import pytest

from envs.procgen.env import ProcgenVectorEnv


@pytest.fixture
def make():
    made = []

    def build(*args, **options):
        made.append(ProcgenVectorEnv(*args, **options))
        return made[-1]

    yield build
    for env in made:
        env.close()

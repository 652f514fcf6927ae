"""An algorithm that kills its own process once, in the middle of the run of one seed, as a node that fails would."""

import os
import signal
from pathlib import Path
from typing import ClassVar

from agents.ppo import PPO, PPOConfig

FLAG, SEED, UPDATE = "DEADLY_FLAG", 5, 5


class Deadly(PPO):
    """PPO; where the file that ``DEADLY_FLAG`` names is not there yet, seed 5 makes it in update 5 and is killed."""

    Config: ClassVar[type[PPOConfig]] = PPOConfig

    def train(self) -> None:
        flag = os.environ.get(FLAG, "")
        if self.seed == SEED and self.num_timesteps >= UPDATE * self.n_steps * self.n_envs and flag:
            try:
                Path(flag).touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        super().train()

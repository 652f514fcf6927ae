"""Sparse coding of patches (Olshausen and Field 1996), and its prediction by an encoder (PSD, Kavukcuoglu et al. 2008).

A whitened patch z (``nets.whitened_patches``) is a sum of few of K atoms d_k of length 1, the rows of D:

    s(z) = argmin_s E(s),   E(s) = 0.5 ||z - D^T s||^2 + penalty sum_k |s_k|

The dictionary minimises the mean of E(s(z)) over patches: scikit-learn's MiniBatchDictionaryLearning (Mairal et al.
2009). Codes come by ISTA from s = 0, with L the largest eigenvalue of D D^T; no step raises E:

    s <- soft(s - D (D^T s - z) / L, penalty / L),   soft(a, t) = sign(a) max(0, |a| - t)

Positive and negative parts are averaged apart over the four quadrants of the frame (Coates and Ng 2011).
``encode`` returns these averages (B, 8 K).

``sparse_coding.predict=True`` takes F(z) = g tanh(A z + b), g one number an atom, in place of s(z): after the
dictionary, F is fitted to the codes by their mean squared error. It costs a hundredth of ISTA.

Differs from the paper: ISTA ends after ``steps``; the dictionary of PSD is not trained along with F.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs
from representations.base import Phase, solving
from representations.kmeans import PatchCoded, PatchConfig
from representations.nets.images import tile
from representations.nets.whitened_patches import contact_rows
from representations.scikit import estimator, fit, seed_from, some_rows

DICTIONARY_PATCHES = 20_000
"""Patches that the dictionary is learnt from at most, in one pass; F takes all."""
BATCH, PREDICTOR_STEPS, PREDICTOR_RATE = 256, 3_000, 3e-3
"""Patches a step of the dictionary and of F, optimizer steps of F, and its learning rate (Adam)."""


@dataclass(frozen=True)
class SparseCodingConfig(PatchConfig):
    atoms: int = 64
    """K; features are eight times as many."""
    penalty: float = 1.0
    """Weight of sum |s_k|; 0.5 to 1.5 in Coates and Ng 2011 on patches whitened like these."""
    steps: int = 10
    """Steps of ISTA."""
    predict: bool = False
    """Features from the encoder F in place of ISTA."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(atoms=1, penalty=0, steps=1)


def objective(
    z: Float[Tensor, "n P"], s: Float[Tensor, "n K"], atoms: Float[Tensor, "K P"], penalty: float
) -> Float[Tensor, ""]:
    """E(s), mean over patches."""
    energy: Tensor = 0.5 * (z - s @ atoms).square().sum(-1) + penalty * s.abs().sum(-1)
    return energy.mean()


def curvature(atoms: Float[Tensor, "K P"]) -> Float[Tensor, ""]:
    """L, the largest eigenvalue of D D^T."""
    gram = (atoms @ atoms.T).double()
    largest: Tensor = torch.linalg.eigvalsh(gram)[-1].clamp(min=1e-12).to(atoms.dtype)
    return largest


def ista(
    z: Float[Tensor, "n P"], atoms: Float[Tensor, "K P"], penalty: float, steps: int, largest: Float[Tensor, ""]
) -> Float[Tensor, "n K"]:
    """Codes after ``steps`` >= 1 steps from 0; ``largest`` is L."""
    decay = torch.eye(len(atoms), device=z.device, dtype=z.dtype) - atoms @ atoms.T / largest
    drive, threshold = z @ (atoms.T / largest), penalty / float(largest)
    s = F.softshrink(drive, threshold)
    for _ in range(steps - 1):
        s = F.softshrink(torch.addmm(drive, s, decay), threshold)
    return s


class Predictor(nn.Module):
    """F(z) = g tanh(A z + b)."""

    def __init__(self, size: int, atoms: int):
        super().__init__()
        self.dense, self.gain = nn.Linear(size, atoms), nn.Parameter(torch.ones(atoms))

    def forward(self, z: Float[Tensor, "n P"]) -> Float[Tensor, "n K"]:
        predicted: Tensor = self.gain * torch.tanh(self.dense(z))
        return predicted


class SparseCoding(PatchCoded):
    """See the module docstring."""

    Config = SparseCodingConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        K, P = self.config.atoms, self.patches.size
        self.atoms = nn.Parameter(F.normalize(torch.randn(K, P), dim=1))
        self.register_buffer("largest", curvature(self.atoms.detach()))
        self.largest: Tensor
        self.predictor = Predictor(P, K) if self.config.predict else None
        self.features_dim = 8 * K

    def signed_codes(self, z: Float[Tensor, "n P"]) -> Float[Tensor, "n K"]:
        """s(z), or F(z)."""
        if self.predictor is None:
            return ista(z, self.atoms, self.config.penalty, self.config.steps, self.largest)
        predicted: Tensor = self.predictor(z)
        return predicted

    def codes(self, z: Float[Tensor, "n P"]) -> Float[Tensor, "n E"]:
        """Positive parts of the code, then negative ones: E = 2 K."""
        s = self.signed_codes(z)
        return torch.cat([s.relu(), (-s).relu()], -1)

    def after_step(self) -> None:
        """Follow the atoms where the policy trains them."""
        self.largest.copy_(curvature(self.atoms.detach()))

    def phases(self) -> list[Phase]:
        return [solving("dictionary", list(self.parameters()), self.fit)]

    def fit_codes(self, z: Float[Tensor, "n P"], generator: torch.Generator) -> dict[str, Tensor]:
        """Dictionary, then the encoder, if there is one."""
        some = some_rows(z, DICTIONARY_PATCHES, generator)
        library = estimator("decomposition", "MiniBatchDictionaryLearning")(
            self.config.atoms,
            alpha=self.config.penalty,
            fit_algorithm="cd",
            batch_size=BATCH,
            max_iter=1,
            random_state=seed_from(generator),
        )
        fit(library, some)
        self.atoms.copy_(F.normalize(torch.from_numpy(library.components_).to(z), dim=1))
        self.after_step()
        codes = ista(z, self.atoms, self.config.penalty, self.config.steps, self.largest)
        metrics = {
            "objective": objective(z, codes, self.atoms, self.config.penalty),
            "explained": 1 - (z - codes @ self.atoms).square().sum() / z.square().sum(),
            "active": (codes != 0).float().mean(),
        }
        if self.predictor is not None:
            metrics["predicted"] = self.fit_predictor(z, codes, generator)
        return metrics

    @torch.enable_grad()
    def fit_predictor(
        self, z: Float[Tensor, "n P"], codes: Float[Tensor, "n K"], generator: torch.Generator
    ) -> Float[Tensor, ""]:
        """Fit F to the codes; returns the fraction of their mean square that it explains."""
        assert self.predictor is not None
        optimizer = torch.optim.Adam(self.predictor.parameters(), PREDICTOR_RATE)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, PREDICTOR_STEPS)
        for _ in range(PREDICTOR_STEPS):
            rows = torch.randint(len(z), (BATCH,), generator=generator, device=generator.device).to(z.device)
            loss = (self.signed_codes(z[rows]) - codes[rows]).square().sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return 1 - (self.signed_codes(z) - codes).square().sum() / codes.square().sum().clamp(min=1e-12)

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``atoms``: each as a patch, without the whitening."""
        return {"atoms": tile(contact_rows(self.patches.images(self.atoms)), self.spec.channels)}

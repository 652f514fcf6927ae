"""Intrinsic-motivation bonuses: each turns Steps into a reward of its own, added before advantages are estimated.

Read in this order: ``base`` (the contract), ``sight`` (what a bonus looks at), ``scale`` (the running scale every bonus
is divided by), ``visits`` (states as hashes, first visits of an episode); then one file a bonus. Prediction error:
``pixel_error``, ``icm``, ``latent_error``, ``rnd``, ``disagreement``. Prediction gain: ``prediction_gain`` (counts and
pseudo-counts), ``learning_progress``, ``bayesian_surprise``, ``complexity_gain``. Empowerment: ``empowerment``,
``vic``, ``diayn``. What several of them are made of: ``moments`` (running mean and variance), ``trial`` (what a step
would gain), ``forward`` and ``variational`` (Bayesian forward models), ``pixel_cnn`` (a density). ``BONUSES`` maps
names to classes; third parties add to it through the entry-point group ``rl_transfer.bonuses``.
"""

from envs.registry import Registry

BONUSES = Registry(
    "bonus",
    "rl_transfer.bonuses",
    {
        "pixel_error": "intrinsic.pixel_error:PixelError",
        "icm": "intrinsic.icm:Icm",
        "latent_error": "intrinsic.latent_error:LatentError",
        "rnd": "intrinsic.rnd:Rnd",
        "disagreement": "intrinsic.disagreement:Disagreement",
        "prediction_gain": "intrinsic.prediction_gain:PredictionGain",
        "learning_progress": "intrinsic.learning_progress:LearningProgress",
        "bayesian_surprise": "intrinsic.bayesian_surprise:BayesianSurprise",
        "complexity_gain": "intrinsic.complexity_gain:ComplexityGain",
        "empowerment": "intrinsic.empowerment:Empowerment",
        "vic": "intrinsic.vic:Vic",
        "diayn": "intrinsic.diayn:Diayn",
    },
)

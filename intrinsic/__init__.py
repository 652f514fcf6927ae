"""Intrinsic-motivation bonuses: each turns Steps into a reward of its own, added before advantages are estimated.

Files in reading order. ``base``: the contract. ``inputs``: the newest frame or the features, and encoders for them.
``normalise``: running moments, and the running scale that every bonus is divided by. ``state_hash``: states as hashes,
first visits of an episode. Then one file a bonus. The control: ``constant``. Prediction error: ``pixel_error``,
``icm``, ``latent_error``, ``rnd``, ``disagreement``, ``svg_surprise`` (of a learnt prior). Prediction gain:
``prediction_gain`` (counts and pseudo-counts), ``learning_progress``, ``bayesian_surprise``, ``complexity_gain``.
Empowerment: ``empowerment``, ``diayn``, ``vic``.
Subfolder ``models``: what several of them share. ``BONUSES`` maps names to classes; third parties add to it through the
entry-point group ``rl_transfer.bonuses``.
"""

from envs.registry import Registry

BONUSES = Registry(
    "bonus",
    "rl_transfer.bonuses",
    {
        "constant": "intrinsic.constant:Constant",
        "pixel_error": "intrinsic.pixel_error:PixelError",
        "icm": "intrinsic.icm:Icm",
        "latent_error": "intrinsic.latent_error:LatentError",
        "rnd": "intrinsic.rnd:Rnd",
        "disagreement": "intrinsic.disagreement:Disagreement",
        "svg_surprise": "intrinsic.svg_surprise:SvgSurprise",
        "prediction_gain": "intrinsic.prediction_gain:PredictionGain",
        "learning_progress": "intrinsic.learning_progress:LearningProgress",
        "bayesian_surprise": "intrinsic.bayesian_surprise:BayesianSurprise",
        "complexity_gain": "intrinsic.complexity_gain:ComplexityGain",
        "empowerment": "intrinsic.empowerment:Empowerment",
        "vic": "intrinsic.vic:Vic",
        "diayn": "intrinsic.diayn:Diayn",
    },
    attribute="Config",
)

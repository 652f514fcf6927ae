"""Representation modules: encoders from observations to the features that the policy acts on.

Read in this order: ``base`` (the contract), ``feature_metrics`` (spread, dead units, rank), ``nets`` (networks
that two or more methods use), ``cnn`` (the end-to-end baseline), the controls ``random`` (a frozen random
network), ``policy_cnn`` (the encoder of the policy that gathers frames), ``blind`` (a constant) and ``oracle`` (the
true factors), ``vae`` (VAE and beta-VAE), ``darla``, ``monet`` (slots), ``gqn`` (scenes from several views) and its
``gqn_networks``, ``cpc`` (contrastive prediction), ``unreal`` (auxiliary tasks of the agent), ``augment`` (random
changes of images) and the methods that learn from them, ``simclr``, ``curl``, ``atc`` and ``drac``,
``scikit`` (fits by scikit-learn) and the baselines ``linear`` (PCA and ICA),
``kmeans`` and ``sparse_coding`` (patches),
``slow`` (slow features),
``autoencoder`` (with noise and without),
``vq_vae`` (a map of codes from a codebook),
the generative
``conv_draw`` (a VAE that paints step by step), ``acn`` (a VAE whose prior is a similar frame), ``bigan`` (adversarial)
and ``svg_lp`` (video prediction with a learnt prior), the tasks
made up from frames, ``rotation``,
``patches`` (context and jigsaw),
``colorization``, ``inpainting``, ``mae`` (masked autoencoder),
``vicreg`` (views without negatives),
``inverse`` (actions between frames),
``time_contrastive``,
``order`` (shuffle and the arrow of time),
``motion_mask``,
``deep_cluster``,
``nat`` (noise as targets),
``content_pose`` (what stays and what moves);
then ``collect`` (frames to fit on), ``pretrain`` (offline fit), ``pretext`` (accuracy of made-up
tasks), ``threads`` (parts of a batch side by side), ``malloc`` (settings of
malloc for training), ``stored_rows`` (a table over
the stored frames), ``wrappers`` (stacked features, appended vectors), ``standardise`` (one scale for all methods) and
``frozen`` (a frozen representation in front of any stable-baselines3 algorithm).

``REPRESENTATIONS`` maps names to classes; third parties add to it through the entry-point group
``rl_transfer.representations``, or name a class as ``--repr mypkg.mine:Mine``.
"""

from envs.registry import Registry

REPRESENTATIONS = Registry(
    "representation",
    "rl_transfer.representations",
    {
        "cnn": "representations.cnn:Cnn",
        "random": "representations.random:Random",
        "policy_cnn": "representations.policy_cnn:PolicyCnn",
        "blind": "representations.blind:Blind",
        "oracle": "representations.oracle:Oracle",
        "vae": "representations.vae:Vae",
        "beta_vae": "representations.vae:BetaVae",
        "darla": "representations.darla:Darla",
        "monet": "representations.monet:Monet",
        "gqn": "representations.gqn:Gqn",
        "cpc": "representations.cpc:Cpc",
        "unreal": "representations.unreal:Unreal",
        "simclr": "representations.simclr:SimClr",
        "curl": "representations.curl:Curl",
        "atc": "representations.atc:Atc",
        "drac": "representations.drac:Drac",
        "pca": "representations.linear:Pca",
        "ica": "representations.linear:Ica",
        "kmeans": "representations.kmeans:KMeans",
        "sparse_coding": "representations.sparse_coding:SparseCoding",
        "slow": "representations.slow:Slow",
        "ae": "representations.autoencoder:Autoencoder",
        "dae": "representations.autoencoder:DenoisingAutoencoder",
        "vq_vae": "representations.vq_vae:VqVae",
        "conv_draw": "representations.conv_draw:ConvDraw",
        "acn": "representations.acn:Acn",
        "bigan": "representations.bigan:Bigan",
        "svg_lp": "representations.svg_lp:SvgLp",
        "rotation": "representations.rotation:Rotation",
        "inverse": "representations.inverse:Inverse",
        "time_contrastive": "representations.time_contrastive:TimeContrastive",
        "shuffle": "representations.order:Shuffle",
        "arrow": "representations.order:Arrow",
        "motion_mask": "representations.motion_mask:MotionMask",
        "context": "representations.patches:Context",
        "jigsaw": "representations.patches:Jigsaw",
        "deep_cluster": "representations.deep_cluster:DeepCluster",
        "nat": "representations.nat:Nat",
        "content_pose": "representations.content_pose:ContentPose",
        "colorization": "representations.colorization:Colorization",
        "inpainting": "representations.inpainting:Inpainting",
        "vicreg": "representations.vicreg:VicReg",
        "mae": "representations.mae:Mae",
    },
    attribute="Config",
)

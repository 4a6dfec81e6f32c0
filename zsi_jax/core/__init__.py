"""The method: predictions mix, scores add, solvers inject."""

from __future__ import annotations

from zsi_jax.core.ahead import Lookahead
from zsi_jax.core.compose import During, Langevin, TimeTravel
from zsi_jax.core.guidance import Clip, Combine, Field, Guidance, Nothing, Rms, Scale, Score, Step
from zsi_jax.core.losses import ClassifierLoss, DenoiserLoss, Importance, RegressorLoss, Times
from zsi_jax.core.merge import MGDA, CAGrad, Mean, PCGrad, Sum
from zsi_jax.core.pairs import Pairs
from zsi_jax.core.predict import Aim, Blend, Denoiser, From, Mix, Prediction, cfg
from zsi_jax.core.process import (
  Level,
  Move,
  Process,
  cosine,
  linear,
  scaled_linear,
  spaced,
  strided,
)
from zsi_jax.core.sampler import sample, sample_by
from zsi_jax.core.solvers import (
  DDIM,
  DDNM,
  Ancestral,
  DPMSolverPP,
  Heun,
  Landing,
  ReverseDiffusion,
  Solver,
)
from zsi_jax.core.terms import Classifier, Contrast, Energy, LogProb, Regressor
from zsi_jax.core.tree import Array, Tree, static, weight

__all__ = (
  'Aim',
  'Ancestral',
  'Array',
  'Blend',
  'CAGrad',
  'Classifier',
  'ClassifierLoss',
  'Clip',
  'Combine',
  'Contrast',
  'DDIM',
  'DDNM',
  'DPMSolverPP',
  'Denoiser',
  'DenoiserLoss',
  'During',
  'Energy',
  'Field',
  'From',
  'Guidance',
  'Heun',
  'Importance',
  'Landing',
  'Langevin',
  'Level',
  'LogProb',
  'Lookahead',
  'MGDA',
  'Mean',
  'Mix',
  'Move',
  'Nothing',
  'PCGrad',
  'Pairs',
  'Prediction',
  'Process',
  'Regressor',
  'RegressorLoss',
  'ReverseDiffusion',
  'Rms',
  'Scale',
  'Score',
  'Solver',
  'Step',
  'Sum',
  'TimeTravel',
  'Times',
  'Tree',
  'cfg',
  'cosine',
  'linear',
  'sample',
  'sample_by',
  'scaled_linear',
  'spaced',
  'static',
  'strided',
  'weight',
)

"""A metrics.json with every kind of table and figure, and its pictures; nothing is measured."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from zsi_jax.io.images import grid

TITLE = 'Smile between its extremes <b>&amp;</b> "quoted"'


def histogram(peak: float, bins: int = 100, n: int = 4000) -> list[int]:
  centres = (np.arange(bins) + 0.5) / bins
  share = np.exp(-(((centres - peak) / 0.18) ** 2)) + 0.002
  return np.rint(n * share / share.sum()).astype(int).tolist()


def u_shaped(bins: int = 100) -> list[int]:
  return [900, 500, 200, 90, 30, 8, 2, *[0] * (bins - 14), 1, 4, 20, 70, 190, 480, 905]


def figures() -> list[dict[str, Any]]:
  t = np.linspace(0, 1, 11)
  wave = np.sin(np.linspace(0, 3, 48))[:, None] * np.cos(np.linspace(0, 4, 48))[None]
  cells = wave.tolist()
  cells[3][5] = None
  spread = np.random.default_rng(0).normal(0, 0.06, (1500, 2))
  along = np.random.default_rng(1).uniform(0, 1, 1500)
  return [
    {
      'kind': 'histogram', 'title': 'Judge B, each set', 'note': 'The dashed line is uniform.',
      'x': 'P(smile)', 'low': 0, 'high': 1, 'log': True,
      'series': [
        {'label': 'unguided', 'counts': u_shaped()},
        {'label': 'λ = 30', 'counts': histogram(0.4)},
        {'label': 'λ = 75', 'counts': histogram(0.55)},
      ],
    },
    {
      'kind': 'histogram', 'title': 'Truth, λ = 75', 'x': 'smile', 'low': 0, 'high': 1,
      'series': [{'label': 'λ = 75', 'counts': histogram(0.5)}],
    },
    {
      'kind': 'curve', 'title': 'Asked for against got', 'x': 'asked for', 'y': 'got',
      'diagonal': True,
      'series': [
        {'label': 'Aim', 'x': t.tolist(), 'y': (t**1.4).tolist(),
         'low': (t**1.4 - 0.06).tolist(), 'high': (t**1.4 + 0.06).tolist()},
        {'label': 'calibrated', 'x': t.tolist(), 'y': [None, *t[1:].tolist()],
         'low': None, 'high': None},
      ],
    },
    {
      'kind': 'curve', 'title': 'Memorisation', 'x': 'training images', 'y': 'share of copies',
      'log_x': True, 'diagonal': False,
      'series': [{'label': '', 'x': [5e3, 1e4, 3e4, 6e4], 'y': [0.31, 0.08, 0.004, math.nan]}],
    },
    {
      'kind': 'heatmap', 'title': 'Classifier over circle positions', 'x': 'x, pixels',
      'y': 'y, pixels', 'values': cells, 'low': -1, 'high': 1, 'scale': 'linear',
      'extent': [0, 64, 64, 0],
    },
    {
      'kind': 'heatmap', 'title': 'Smile and hair', 'note': 'Counts.', 'x': 'smile', 'y': 'hair',
      'values': np.random.default_rng(2).poisson(3, (20, 20)).tolist(), 'low': 1, 'high': 10,
      'scale': 'log', 'extent': [0, 1, 0, 1],
    },
    {
      'kind': 'scatter', 'title': 'Truth against judge B', 'x': 'truth', 'y': 'judge B',
      'points': (along[:, None] + spread).tolist(), 'diagonal': True,
    },
    {
      'kind': 'bars', 'title': 'Accuracy of ten classifiers', 'y': 'circles in the middle',
      'labels': ['no spectral norm', 'spectral norm', 'left alone', 'a label that is far too long'],
      'values': [0.78, 0.75, -0.05, None], 'errors': [0.087, 0.133, 0.02, None],
    },
    {'kind': 'images', 'title': 'λ = 75', 'note': '64 of 4,000.', 'file': 'guided.png'},
    {'kind': 'images', 'title': 'Unguided', 'file': 'more/unguided.png', 'columns': 8},
  ]  # fmt: skip


def metrics(**changes: Any) -> dict[str, Any]:
  """Changes replace whole keys."""
  told = {
    'title': TITLE,
    'about': 'Portraits whose smile was extreme in training.\n\nNobody showed the middle.',
    'config': 'configs/zsi/smile.py:small',
    'preset': 'small',
    'figure': 'Fig. 5, Table 1',
    'command': 'zsi run configs/zsi/smile.py:small --workdir=runs/smile',
    'zero_shot': True,
    'stamp': {'zsi_jax': '1.2.3', 'commit': 'a' * 40, 'config': '0123456789abcdef', 'seeds': 0,
              'jax': '0.10.2', 'jaxlib': None, 'device': 'cpu', 'batch': 64,
              'time': '2026-01-01T00:00:00+00:00'},
    'cost': {'seconds': {'denoiser': 5025.0, 'classifier': 754.2, 'sample': 12.34},
             'device': 'cpu'},
    'protocol': {'size': 32, 'channels': 3, 'bins': 100, 'judge_b': 'f' * 64, 'truth': 'e' * 64,
                 'crop': None, 'split': {'kind': 'within', 'delta': 0.1}},
    'sets': {
      'unguided': {'n': 4000, 'label': 'unguided', 'zero_shot': True, 'note': None, 'values': {
        'judge_b/l2': {'value': 0.4321, 'low': 0.42, 'high': 0.445, 'floor': 0.0155},
        'judge_b/kld': 2.3456, 'judge_b/mild': 0.0123, 'truth/l2': 0.45, 'fid/judge_b': 12.3}},
      'guided': {'n': 4000, 'label': 'λ = 75', 'zero_shot': True, 'note': None, 'values': {
        'judge_b/l2': {'value': 0.0651, 'low': 0.06, 'high': 0.071, 'floor': 0.0155},
        'judge_b/kld': {'value': 0.1881, 'low': 0.17, 'high': None, 'floor': math.nan},
        'judge_b/mild': 0.5, 'truth/l2': None, 'circles/middle': '78 ± 9 %'}},
      'dial': {'n': 1000, 'label': 'Aim, calibrated', 'zero_shot': False,
               'note': 'its dial was read off judge A, which saw the middle', 'values': {
        'judge_b/l2': 0.0212, 'judge_b/kld': 3e-5, 'judge_b/parameters': 121063942}},
    },
    'paper': {'guided': {'judge_b/l2': 0.065, 'judge_b/kld': 0.188},
              'λ = 30': {'judge_b/l2': 0.558, 'circles/middle': '78 ± 8.7 %'}},
    'headline': [{'set': 'guided', 'metric': 'judge_b/l2', 'label': 'L2 to uniform, λ = 75'},
                 {'set': 'guided', 'metric': 'judge_b/kld'}],
    'tables': [{'title': 'By λ', 'note': 'One compile.', 'columns': ['λ', 'FID', 'P', 'R'],
                'rows': [[0, 12.3, 0.5, None], ['3.5', {'value': 11.0, 'low': 10.0, 'high': 12.0},
                         math.nan, 1]]}],
    'figures': figures(),
    'warnings': ['Judge A scores .041 on the uniform half: its ratings are not used.'],
  }  # fmt: skip
  return told | changes


def write(workdir, **changes: Any):
  """workdir/evaluate as the stage leaves it; returns the workdir."""
  folder = workdir / 'evaluate'
  (folder / 'more').mkdir(parents=True)
  images = np.random.default_rng(3).uniform(-1, 1, (64, 32, 32, 3))
  grid(images, 8).save(folder / 'guided.png')
  grid(-images[:16], 8).save(folder / 'more' / 'unguided.png')
  (folder / 'metrics.json').write_text(json.dumps(metrics(**changes)))
  return workdir

"""The closed-form mixture, drawn: unguided, one-sided and multi-guided histograms in one picture.

python -m bench.mixture --out runs/mixture
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import jax
import matplotlib
import numpy as np

from tests.oracle import Mixture, guided
from zsi_jax.build.models import keys
from zsi_jax.core import Aim, Process, cosine, sample
from zsi_jax.io.stamp import stamp

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402

N, SEED = 4000, 0
INK, MUTED, SEEN, FOUND = '#222222', '#8a8a8a', '#7f9db9', '#d1603d'


def draws() -> dict[str, np.ndarray]:
  """Samples by title: the same noise under three guidances."""
  narrow, process = Mixture(0.7, 0.15), Process.make(cosine(4000), 250)
  rows = {
    'unguided': None,
    'one-sided, weights (0, 10)': guided(narrow, [0.0, 10.0]),
    'multi-guided, weights (1, 1)': guided(narrow, [1.0, 1.0]),
  }
  return {
    title: np.asarray(sample(keys(SEED, N), process, narrow, term, shape=(1,)))[:, 0]
    for title, term in rows.items()
  }


def aimed() -> tuple[np.ndarray, np.ndarray]:
  """What was asked for, and the class probability of what came, within the stable range."""
  broad, process = Mixture(0.5, 0.3), Process.make(cosine(4000), 250)
  asked = np.linspace(0.05, 0.95, 1000, dtype=np.float32)
  term = guided(broad, Aim(strength=40.0))
  x = sample(keys(SEED, 1000), process, broad, term, shape=(1,), given={'aim': asked})
  return asked, np.asarray(jax.nn.sigmoid(2 * broad.mu * x / broad.tau**2))[:, 0]


def picture(found: dict[str, np.ndarray], asked: np.ndarray, got: np.ndarray) -> plt.Figure:
  plt.rcParams.update({'font.size': 9, 'axes.edgecolor': MUTED, 'text.color': INK})
  figure, axes = plt.subplots(1, 4, figsize=(13, 2.9), layout='constrained')
  bins = np.linspace(-1.3, 1.3, 79)
  density = np.exp(-0.5 * ((bins[:, None] - [-0.7, 0.7]) / 0.15) ** 2).sum(1) / (
    2 * 0.15 * np.sqrt(2 * np.pi)
  )
  for ax, (title, x) in zip(axes, found.items(), strict=False):
    ax.axvspan(-0.3, 0.3, color='#f3ece4', zorder=0)
    ax.hist(x, bins, density=True, color=FOUND if 'multi' in title else SEEN)
    ax.plot(bins, density, color=INK, lw=1, label='training data')
    share = np.mean(np.abs(x) < 0.3)
    ax.set(
      title=title, xlabel=f'x      (share of |x| < .3: {share:.3f})', yticks=[], xlim=(-1.3, 1.3)
    )
  axes[0].legend(frameon=False, loc='upper center', fontsize=8)
  ax = axes[len(found)]
  ax.plot([0, 1], [0, 1], color=MUTED, lw=1)
  ax.plot(asked, got, '.', ms=2.5, color=FOUND, alpha=0.6)
  r = np.corrcoef(asked, got)[0, 1]
  ax.set(title=f'Aim(40): asked against got, r = {r:.3f}', xlabel='asked', ylabel='p(right | x)')
  for ax in axes:
    ax.spines[['top', 'right']].set_visible(False)
  return figure


def main(out: Path) -> None:
  out.mkdir(parents=True, exist_ok=True)
  start = time.perf_counter()
  found, (asked, got) = draws(), aimed()
  seconds = time.perf_counter() - start
  picture(found, asked, got).savefig(out / 'mixture.png', dpi=130)
  facts = {
    'share of |x| < .3': {k: float(np.mean(np.abs(x) < 0.3)) for k, x in found.items()},
    'correlation of asked and got': float(np.corrcoef(asked, got)[0, 1]),
    'seconds': round(seconds, 2),
    'stamp': stamp(seeds=SEED, batch=N),
  }
  (out / 'mixture.json').write_text(json.dumps(facts, indent=2) + '\n')
  print(json.dumps(facts, indent=2))
  print(f'the picture: {out / "mixture.png"}')


if __name__ == '__main__':
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=Path, default=Path('runs/mixture'))
  main(parser.parse_args().out)

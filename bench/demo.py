"""The main job on a small scale: trained on circles left and right, does it draw those between?

python -m bench.demo --workdir runs/demo

`zsi run configs/zsi/circles.py:tiny --stage=all`: data, denoiser, classifier, samples, what a meter
says of them, and a page. Leaves demo.png and demo.json beside.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from zsi_jax.build.words import pair
from zsi_jax.io.images import grid
from zsi_jax.io.stamp import stamp
from zsi_jax.stages.config import load
from zsi_jax.stages.run import run

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402

CONFIG = Path(__file__).parents[1] / 'configs' / 'zsi' / 'circles.py'
BETWEEN = 0.2, 0.8  # z of the unseen middle
SHOWN = 64
SHARES = {
  'middle': 'one, between', 'sides': 'one, at the sides', 'none': 'none', 'several': 'several',
}  # fmt: skip
SETS = {'unguided': '#7f9db9', 'guided': '#d1603d'}


def images(folder: Path) -> np.ndarray:
  """[N, H, W, C] uint8 in the order of their numbers."""
  return np.concatenate([np.load(file)['images'] for file in sorted(folder.glob('*.npz'))])


def measured(workdir: Path, name: str) -> tuple[dict[str, float], np.ndarray]:
  """What the stage `evaluate` found in a set: shares of its images, and z of each single circle."""
  told = json.loads((workdir / 'evaluate' / 'metrics.json').read_text())['sets'][name]
  shares = {key: told['values'][f'objects/{words}'] for key, words in SHARES.items()}
  facts = {'images': told['n'], **{key: share['value'] for key, share in shares.items()}}
  with np.load(workdir / 'evaluate' / 'scores' / f'{name}.npz') as scores:
    z = scores['truth'][:, 0]
  return facts | {'lower': shares['middle']['low']}, z[np.isfinite(z)]


def picture(rows: dict[str, tuple[np.ndarray, dict[str, float], np.ndarray]]) -> plt.Figure:
  """Samples of each set, and where their single circles lie."""
  figure, axes = plt.subplots(1, 3, figsize=(13, 4.4), layout='constrained')
  figure.get_layout_engine().set(wspace=0.04)
  bins = np.linspace(0, 1, 33)  # a pixel each
  for ax, (name, (pixels, facts, z)) in zip(axes, rows.items(), strict=False):
    ax.imshow(grid(pixels[:SHOWN] / 127.5 - 1, 8))
    ax.set(title=f'{name}: {facts["middle"]:.1%} have one circle in the middle')
    ax.axis('off')
    axes[2].hist(z, bins, color=SETS[name], alpha=0.75, label=name)
  axes[2].axvspan(*BETWEEN, color='#f3ece4', zorder=0, label='never seen in training')
  axes[2].set(title='where the single circles lie', xlabel='z, left to right', yticks=[])
  axes[2].spines[['top', 'right', 'left']].set_visible(False)
  axes[2].legend(frameon=False, loc='upper center')
  return figure


def main(workdir: Path, preset: str, overrides: dict[str, Any]) -> None:
  start = time.perf_counter()
  spec = f'{CONFIG}:{preset}'
  run(spec, str(workdir), **overrides)
  seconds = time.perf_counter() - start
  config = load(spec, overrides)
  rows = {}
  for name in SETS:
    pixels = images(workdir / 'samples' / name)
    rows[name] = (pixels, *measured(workdir, name))
  picture(rows).savefig(workdir / 'demo.png', dpi=110)
  told = {
    name: {key: round(value, 4) for key, value in facts.items()}
    for name, (_, facts, _) in rows.items()
  }
  facts = {**told, 'seconds of zsi run': round(seconds, 1), 'stamp': stamp(seeds=config.seed)}
  (workdir / 'demo.json').write_text(json.dumps(facts, indent=1) + '\n')
  for name, row in told.items():
    print(
      f'{name}: {row["middle"]:.1%} of {row["images"]} images have exactly one circle, in the '
      f'unseen middle (95 % lower bound {row["lower"]:.1%}); at the sides {row["sides"]:.1%}, '
      f'none {row["none"]:.1%}, several {row["several"]:.1%}'
    )
  print(f'{seconds:.0f} s; see {workdir / "demo.png"} and {workdir / "report" / "index.html"}')


if __name__ == '__main__':
  form = argparse.RawTextHelpFormatter
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
  parser.add_argument('--workdir', type=Path, default=Path('runs/demo'))
  parser.add_argument('--preset', default='tiny')
  parser.add_argument('overrides', nargs='*', metavar='KEY=VALUE')
  told = parser.parse_args()
  main(told.workdir, told.preset, dict(map(pair, told.overrides)))

"""What later stages would refuse is said when the records are known, and before a step."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.stages.command import CIRCLES
from tests.stages.small import SMALL
from zsi_jax.build.words import pair
from zsi_jax.stages.config import load
from zsi_jax.stages.foresight import foresee
from zsi_jax.stages.prepare import prepare

HERE = dict(map(pair, SMALL)) | {'sample.steps': 5, 'sample.weights': (5.0, 5.0)}


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
  folder = tmp_path_factory.mktemp('foresight')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('ZSI_DATA_DIR', str(folder / 'data'))
    prepare(load(CIRCLES, HERE), folder / 'w')
    yield folder / 'w'


def test_what_fits_is_not_refused(prepared):
  foresee(load(CIRCLES, HERE), prepared)
  foresee(load(CIRCLES, HERE | {'data.batch': 6, 'data.crop': None}), prepared)  # not prepare's
  foresee(load(CIRCLES, HERE | {'sample.weights': None}), prepared)
  foresee(load(CIRCLES, HERE | {'sample.denoiser': str(prepared / 'denoiser')}), prepared)


@pytest.mark.parametrize(
  'said, match',
  [
    ({'sample.per_file': 5}, 'per_file = 5 is no multiple'),
    ({'sample.solver.inject': 'between'}, "sample.solver: .*'between'"),
    ({'sample.steps': 21}, 'sample.steps = 21, and the denoiser has T = 20'),
    ({'sample.weights': (1.0, 2.0, 3.0)}, r'3 numbers and the classifier .* 2 classes'),
    ({'sample.weights': ((1.0, 2.0),) * 2}, '2 rows and there are 1 classifiers'),
    ({'sample.denoiser': 'nowhere'}, 'nowhere: there is nothing to draw with'),
    ({'sample.classifiers': ('nowhere',)}, 'nowhere: there is nothing to draw with'),
    ({'classifier.decay': 'cosine', 'classifier.warmup': 9}, 'classifier: .*warmup of 9'),
    ({'classifier.net.head_width': 3, 'classifier.net.attend': (1,)}, 'classifier: '),
    ({'classifier.net.classes': 1}, 'classifier.net.classes is 1'),
    ({'classifier.accumulate': 5}, 'in 5 accumulated parts'),
    ({'mesh.rules': (('nothing_like_it', 'replicate'),)}, "mesh.rules: 'nothing_like_it'"),
    ({'data.flip': True}, 'flip=False'),
    ({'classifier.crop': 0.5}, 'crop=None'),
  ],
)
def test_what_comes_later_is_refused_now(prepared, said, match):
  with pytest.raises(ValueError, match=match):
    foresee(load(CIRCLES, HERE | said), prepared)


def test_a_network_of_another_config_is_refused_before_the_first_is_trained(prepared, tmp_path):
  shutil.copytree(prepared, tmp_path / 'w')
  told = {'steps': 4, 'metrics': {}, 'seconds': 1, 'config': {'classifier': {'lr': 5.0}}}
  (tmp_path / 'w/classifier').mkdir()
  (tmp_path / 'w/classifier/classifier.json').write_text(json.dumps(told))
  with pytest.raises(ValueError, match='classifier.lr: 5.0 -> 0.001'):
    foresee(load(CIRCLES, HERE), tmp_path / 'w')

"""Every key of a config with its type; an experiment is a diff of this, and `--` a diff of that.

The options of a source, a split, a support, a network and a solver are keys too, with the defaults
of zsi_jax: `data.options.size=48`, `split.delta=.1`, `denoiser.net.width=64`. None is "not said".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

UNIFORM = {'judge_b/l2': 'L2', 'judge_b/kld': 'KLD'}  # how far a set is from uniform
OBJECTS = {'objects/one, between': 'one between', 'objects/none or several': 'none or several'}
PRESETS = 'tiny', 'small', 'gpu', 'paper'


def get_config(preset: str) -> ConfigDict:
  c = ConfigDict()
  c.seed = 0
  c.check = False  # `zsi run --check`: read every byte of what is there, redraw some images

  c.data = ConfigDict()
  c.data.source = 'circles'  # discs, sizes, portraits, lips, celeba, folder, npz
  c.data.options = ConfigDict()  # arguments of the source
  c.data.root = placeholder(str)  # where data sets lie; $ZSI_DATA_DIR, else ./data
  c.data.skip_corrupt = False  # leave out what cannot be read, and count it
  c.data.batch = pick(preset, tiny=16, small=32, gpu=128)  # over all devices; the paper: 2 x 64
  c.data.flip = False  # left to right at random: never where that changes a label
  c.data.crop = placeholder(float)  # .8: a random window of at least that share
  c.data.keep = ()  # attributes that go into the batches
  c.data.workers = 0  # processes that draw records, and later read them ahead; 0 is none

  # Which records each role sees, and with what label: all, chosen, within, tails, list, top_k,
  # agree, judged, extrapolated, yaw_a, yaw_b, yaw_c.
  c.split = ConfigDict({'kind': 'all'})
  # What the networks may have seen, checked on the records: extremes, one_label, turned, split_b,
  # split_c, listed (nothing is known of the records), all (not zero-shot).
  c.support = ConfigDict({'kind': 'extremes'})

  c.process = ConfigDict()
  c.process.schedule = 'cosine'  # linear, scaled_linear
  c.process.T = pick(preset, tiny=1000, paper=4000)

  c.denoiser = trained(
    preset, steps=pick(preset, tiny=2_000, small=8_000, gpu=20_000, paper=250_000)
  )
  c.denoiser.lr = pick(preset, tiny=2e-3, small=1e-3, gpu=5e-4, paper=1e-4)
  c.denoiser.ema = pick(preset, tiny=0.995, small=0.999, paper=0.9999)
  c.denoiser.net = unet(preset)
  # The text has L_simple + .001 L_vlb ('hybrid_paper'); the code adds L_t as it is, in bits.
  c.denoiser.loss = pick(preset, tiny='simple', paper='hybrid')  # hybrid_paper, vlb
  # What is far from done at few steps is where things are, and v weighs that: alpha eps - sigma x0.
  c.denoiser.predicts = pick(preset, tiny='v', paper='eps')  # x0
  c.denoiser.variance = pick(preset, tiny='small', paper='learned')  # large
  # Where things are is settled at high noise: a short training looks there more often.
  c.denoiser.times = pick(preset, tiny=(0.0, 1.0, 0.6), paper=(0.0, 1.0, 1.0))
  c.denoiser.drop = placeholder(float)  # .1: conditional on the label, left out at that rate (CFG)
  c.denoiser.grid_every = pick(preset, tiny=1_000, small=2_000, paper=10_000)  # None: no pictures

  # The results of the paper at 60k, and its ablation of lambda, are of step 90,000.
  c.classifier = trained(
    preset, steps=pick(preset, tiny=600, small=2_000, gpu=5_000, paper=150_000)
  )
  c.classifier.name = 'classifier'  # what `zsi.load` and notes call it
  c.classifier.batch = pick(preset, tiny=32, small=64)  # published: one GPU, where U-Nets had two
  c.classifier.lr = pick(preset, tiny=1e-3, paper=3e-4)
  c.classifier.ema = placeholder(float)  # none, as published
  c.classifier.net = encoder(preset)
  c.classifier.crop = placeholder(float)  # None: as data.crop
  c.classifier.seed = placeholder(int)  # None: as seed
  c.classifier.label = placeholder(str)  # None: as the split; an attribute, on which side of 1/2

  c.judge = judging(preset)
  c.eyes = seeing(preset)

  c.mesh = ConfigDict()
  c.mesh.fsdp = 1  # devices that share one copy of the parameters; the others have copies
  # (regex of a parameter's path, replicate | largest | '_,_,_,fsdp'), before the default
  c.mesh.rules = ()

  c.log = ConfigDict()
  c.log.wandb = placeholder(str)  # a project of Weights & Biases

  c.sample = ConfigDict()
  c.sample.name = 'guided'  # the folder in samples/
  c.sample.seed = placeholder(int)  # None: as seed
  c.sample.n = pick(preset, tiny=256, small=1_000, paper=10_000)
  c.sample.unguided = pick(preset, tiny=256, small=1_000, paper=10_000)  # images beside, if any
  c.sample.batch = pick(preset, tiny=32, small=64, gpu=256, paper=64)  # of a device at a time
  c.sample.per_file = pick(preset, tiny=64, small=128, gpu=1024, paper=1024)
  c.sample.steps = pick(preset, tiny=50, gpu=100, paper=250)
  c.sample.solver = ConfigDict({'kind': 'ancestral'})  # langevin, ddim, dpm++, heun
  c.sample.weights = (30.0, 30.0)  # lambda of each class; a row for each classifier; None: unguided
  # The text asks the classifier at the posterior mean ('mean'), the code at x_t.
  c.sample.at = 'xt'  # mean, x0
  c.sample.classes = placeholder(tuple)  # which classes the weights are of; None: all, in order
  # 60.: each image has its own z ~ U(0, 1), and weights 60 (1 - z, z) instead of sample.weights.
  c.sample.aim = placeholder(float)
  c.sample.dial = placeholder(str)  # a file of what was got for what was asked: z by its inverse
  # w: no classifier, but (1 + w) times the mean over the classes, less w times no condition.
  c.sample.cfg = placeholder(float)
  c.sample.cfg_variance = 'clipped'  # mixed: as published
  c.sample.cond = placeholder(tuple)  # the classes of a conditional denoiser; with cfg None: all
  # What images shall be near to: identity, landmarks, segmentation, text, colour of other records.
  c.sample.conditions = ()
  c.sample.guide = ConfigDict({'kind': 'none'})  # sum, merge, lookahead, pairs
  c.sample.tuples = 'one'  # record for all conditions of an image; several: one for each
  # slerp: between two records; edit: of one. Both go up to the share `stop` of the steps first.
  c.sample.task = 'draw'
  c.sample.labels = (0, 1)  # of the records, of the classifier's split
  c.sample.stop = 0.5  # as published: 2000 of 4000
  c.sample.points = 9  # of a slerp, both ends among them
  c.sample.upward = 'invert'  # how an edit goes up: by DDIM, or by noise
  c.sample.denoiser = placeholder(str)  # None: this workdir's; a workdir or a weights file
  c.sample.eyes = placeholder(str)  # None: this workdir's; a workdir
  c.sample.classifiers = ()  # none: this workdir's; workdirs or weights files

  c.evaluate = ConfigDict()
  c.evaluate.judges = placeholder(str)  # None: this workdir's; a workdir or a weights file
  # Numbers of a judge that does not score .03 / .03 on a uniform set, too, marked as such.
  c.evaluate.unfit = pick(preset, tiny=True, small=False)
  c.evaluate.bins = 100
  c.evaluate.bootstrap = 1_000  # drawn again for each interval
  c.evaluate.full = pick(
    preset, tiny=200, small=2_000, gpu=10_000, paper=50_000
  )  # records that ...
  c.evaluate.mild = pick(preset, tiny=100, small=500, gpu=2_000, paper=10_000)  # ... nearest 1/2
  c.evaluate.fid = False  # by Inception, too; its weights are never downloaded
  c.evaluate.inception = placeholder(str)  # None: $ZSI_INCEPTION_WEIGHTS, the cache of torch hub
  c.evaluate.lpips = placeholder(str)  # trunk and heads, for the diversity of a set
  c.evaluate.clip = placeholder(str)  # whose neighbours are looked at for copies, too
  c.evaluate.pairs = 1_000  # of images, for that
  c.evaluate.neighbours = 8  # training records shown beside each of the most suspicious; 0: none
  c.evaluate.gradients = pick(preset, tiny=16, small=64)  # images of which they are shown over t
  c.evaluate.level = 0.1  # of T, at which a classifier is mapped (Fig. 7b states none)

  c.report = ConfigDict()
  c.report.title = ''  # none: the first sentence of `about`
  c.report.about = ''  # none: the docstring of the config's file
  c.report.config = ''  # none: its name and preset
  c.report.figure = ''  # of the paper
  c.report.paper = ()  # (set, metric, what the paper prints)
  c.report.headline = ()  # (set, metric, its name in the README)
  c.report.against = ()  # (set, another of the same tuples and seeds): paired differences
  return c


def trained(preset: str, steps: int) -> ConfigDict:
  """What both networks are trained with; as published without warm-up, decay, clipping."""
  c = ConfigDict()
  c.batch = placeholder(int)  # over all devices; None: data.batch
  c.steps = steps
  c.warmup = pick(preset, tiny=50, small=200, paper=0)  # steps of a rising rate
  c.decay = pick(preset, tiny='cosine', paper='constant')  # linear: to 0 at the last step
  c.weight_decay = 0.0
  c.clip = pick(preset, tiny=1.0, paper=None)  # of the norm of the gradient
  c.times = (0.0, 1.0, 1.0)  # low, high, power: the loss looks at low + (high - low) r^power of T
  c.accumulate = 1  # parts of a batch, one after the other, for want of memory
  c.log_every = pick(preset, tiny=50, small=100)
  c.save_every = pick(preset, tiny=500, small=1_000, paper=10_000)
  c.keep = 3  # newest checkpoints, beside the best
  return c


def judging(preset: str) -> ConfigDict:
  """At :paper as published: SGD of one rate, 100,000 steps, a flip where data.flip allows it."""
  c = trained(preset, steps=pick(preset, tiny=400, small=6_000, gpu=10_000, paper=100_000))
  del c.times
  c.copies = ()  # ('a', 'b'): two, of which each learns from records that the other never saw
  c.truth = ()  # attributes that a third network measures
  c.kind = 'binary'  # P of each attribute; classes: of each label; regression
  c.attributes = ()
  # y ~ Bernoulli(z) anew each time that a record is shown: the mean of so many; None: z itself.
  c.draws = placeholder(int)
  c.holdout = 0.2  # of the records: half for temperature and ranks, half to test
  c.ranked = False  # True: where z is uniform, the rank of P among others' instead of P
  c.batch = 64
  c.optimizer = pick(preset, tiny='adam', paper='sgd')
  c.momentum = 0.9
  c.lr = pick(preset, tiny=3e-3, gpu=1e-3, paper=0.1)
  c.weight_decay = pick(preset, tiny=0.05, paper=0.0)
  c.ema = pick(preset, tiny=0.99, small=0.998, gpu=0.999, paper=None)
  c.shift = 0  # pixels that an image is moved by, at random
  c.net = ConfigDict({'kind': pick(preset, tiny='compact', paper='efficientnet')})
  return c


def seeing(preset: str) -> ConfigDict:
  """What guides faces, twice: each copy learns from records that the other never saw."""
  c = trained(preset, steps=pick(preset, tiny=300, small=1_500, gpu=10_000, paper=20_000))
  del c.times
  c.kinds = ()  # identity, landmarks, segmentation, text
  c.copies = ('guide', 'judge')
  c.holdout = 0.2  # of the persons: all copies of all kinds are tested on them
  c.batch = 64
  c.lr = pick(preset, tiny=3e-3, gpu=1e-3)
  c.warmup = pick(preset, tiny=50, small=200)
  c.decay = 'cosine'
  c.clip = 1.0
  c.weight_decay = 0.05
  c.ema = pick(preset, tiny=0.99, small=0.998, gpu=0.999)
  # What a denoiser expects is blurred, and an eye that never saw that is asked of it.
  c.blur = pick(preset, tiny=1.0, gpu=2.0)  # pixels, at most
  c.noise = 0.1  # deviation, at most
  c.net = ConfigDict({'width': pick(preset, tiny=16, small=32)})
  return c


def unet(preset: str) -> ConfigDict:
  c = ConfigDict({'kind': 'unet'})  # dit, ddpm
  c.width = pick(preset, tiny=16, gpu=64, paper=128)
  c.mults = pick(
    preset, tiny=(1, 1, 2, 2), small=(1, 2, 3, 4), gpu=(1, 1, 2, 2), paper=(1, 2, 3, 4)
  )
  c.blocks = pick(preset, tiny=1, gpu=2, paper=3)
  # Downsampling factors. The text has attention at 32, 16, 8 pixels, which is (2, 4, 8); the
  # configs of the code have 16 and 8.
  c.attend = pick(preset, tiny=(4,), gpu=(8,), paper=(4, 8))
  c.heads = pick(preset, tiny=2, gpu=4)
  c.dtype = pick(preset, tiny='float32', gpu='bfloat16')  # published: float16 and loss scaling
  return c


def encoder(preset: str) -> ConfigDict:
  c = ConfigDict({'kind': 'encoder'})
  c.width = pick(preset, tiny=16, gpu=64, paper=128)
  c.mults = pick(preset, tiny=(1, 2, 2), gpu=(1, 2, 2, 2), paper=(1, 2, 3, 4))
  c.blocks = pick(preset, tiny=1, paper=2)
  c.attend = pick(preset, tiny=(4,), gpu=(4, 8), paper=(2, 4, 8))
  c.head_width = pick(preset, tiny=8, gpu=32, paper=64)
  c.classes = placeholder(int)  # None: one for each label; the published head has 1000
  c.dtype = 'float32'  # as published
  return c


def pick(preset: str, **by_preset: Any) -> Any:
  """What this preset says; one that says nothing is as the next smaller one."""
  if preset not in PRESETS:
    raise ValueError(f'there is no preset {preset!r}: take one of {", ".join(PRESETS)}')
  up_to = PRESETS[: PRESETS.index(preset) + 1]
  return [by_preset[p] for p in up_to if p in by_preset][-1]


def faces(preset: str, *attributes: str, delta: float = 0.1) -> ConfigDict:
  """Portraits at both ends of one attribute, or in the corners of two; a fifth of them for one."""
  c = get_config(preset)
  c.data.source = 'portraits'
  n = pick(preset, tiny=1_500, small=60_000, paper=300_000)
  c.data.options = dict(n=n, size=pick(preset, tiny=32, gpu=64))
  if 'hair' not in attributes:  # of a whole head on 32 pixels the mouth has six: too few to draw it
    c.data.options.close = pick(preset, tiny=False, small=True, gpu=False)
  # Of heads that turn nobody could tell a faint smile on so few pixels.
  c.data.options.yaw = pick(preset, tiny=(-6.0, 6.0), gpu=(-30.0, 30.0))
  c.data.options.pitch = pick(preset, tiny=(-3.0, 3.0), gpu=(-12.0, 12.0))
  c.data.options.roll = pick(preset, tiny=(-2.0, 2.0), gpu=(-8.0, 8.0))
  c.data.flip = True  # a mirrored face has the same smile, age and hair
  c.data.keep = attributes
  c.split = dict(kind='within', attributes=attributes, delta=delta)
  c.support = dict(kind='extremes', attributes=attributes, delta=c.split.get_ref('delta'))
  c.classifier.name = '_'.join(attributes)
  c.judge.attributes = c.judge.truth = attributes
  c.judge.copies = ('a', 'b')  # a for dials, b for scores
  # What a judge cannot see draws its P to the middle; ranks spread it again.
  c.judge.ranked = pick(preset, tiny=False, small=True, paper=False)
  c.sample.weights = (30.0,) * 2 ** len(attributes)
  return c


def celeba(preset: str, list: str, *labels: str) -> ConfigDict:
  """CelebA by an index list of the published code, labelled by one attribute or two."""
  c = get_config(preset)
  c.data.source = 'celeba'
  c.data.options = dict(root='celeba', split='train', attributes=labels)
  c.data.options.size = pick(preset, tiny=32, gpu=64)
  c.data.flip = True  # as published: a mirrored face has the same labels
  c.split = dict(kind='list', list=list, label=labels if len(labels) > 1 else labels[0])
  c.support = dict(kind='listed')  # of a photograph no truth is known
  c.classifier.name = '_'.join(labels).lower()
  c.judge.attributes = labels
  c.judge.copies = ('a', 'b')  # on all records of the split; with labels of 0 and 1
  c.classifier.crop = 0.8  # the published classifiers saw random windows, their U-Nets did not
  c.sample.weights = (30.0,) * 2 ** len(labels)
  return c


def reported(
  c: ConfigDict,
  figure: str,
  metrics: Mapping[str, str],
  sets: Mapping[str, tuple[str, ...] | None],
) -> None:
  """What the README shows of an experiment: metrics by their names there, and what of each set the
  paper prints; None where it has no such set."""
  c.report.figure = figure
  c.report.headline = tuple((s, m, f'{s}: {word}') for s in sets for m, word in metrics.items())
  c.report.paper = tuple(
    (s, m, text) for s, texts in sets.items() for m, text in zip(metrics, texts or (), strict=False)
  )


def posed(c: ConfigDict, preset: str) -> None:
  """What Miele says of heads that turn; judges measure by how much."""
  c.judge.kind, c.judge.attributes, c.judge.truth = 'regression', ('yaw',), ('yaw',)
  c.judge.copies = ('a', 'b')
  c.denoiser.steps = pick(preset, tiny=2_000, small=20_000, paper=150_000)  # §7.2 has 100,000
  c.classifier.name = 'side'
  c.sample.weights = (45.0, 45.0)  # A; B has 20, C has 15, 20, 30 and 45

"""Stages: each takes a config and a workdir, and leaves files there."""

STAGES = {  # room:function, in the order in which they build on each other
  'prepare': 'zsi_jax.stages.prepare:prepare',
  'denoiser': 'zsi_jax.stages.training:denoiser',
  'classifier': 'zsi_jax.stages.training:classifier',
  'eyes': 'zsi_jax.stages.eyes:eyes',
  'judge': 'zsi_jax.stages.judge:judge',
  'sample': 'zsi_jax.stages.sample:sample',
  'evaluate': 'zsi_jax.stages.evaluate:evaluate',
  'report': 'zsi_jax.stages.report:report',
}

"""The Slurm runner: a run on a computing centre, as plain batch scripts a person can read.

`site` says where, `script` writes what is submitted, `connection` and `transfer` reach the site
over the user's own ssh, `states` reads what Slurm and our receipts say of it, `runner` is the
journey from submission to the verified model.
"""

from deepsynth.runners.slurm.runner import SlurmRunner, attach, create
from deepsynth.runners.slurm.site import Site, load_site

__all__ = ["Site", "SlurmRunner", "attach", "create", "load_site"]

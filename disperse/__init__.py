"""Dispersive Loss: representation regularisation for diffusion models.

``loss = diffusion_loss + 0.5 * DispersiveLoss("infonce-l2", tau=0.5)(features)``
"""

from .cite import cite
from .losses import DispersiveLoss
from .models import build_model
from .sampling import sample
from .spec import RunSpec
from .taps import tap
from .training import load_model

__version__ = "0.1.0"
__all__ = ["DispersiveLoss", "RunSpec", "build_model", "cite", "load_model", "sample", "tap"]

"""Someone else's torch network, pickled whole, to one ONNX file that skyfan runs.

Reading such a file runs code: what the pickle says, and the network's own. That is done only for who says so, and in a
process of its own, for four reasons: the modules of a code folder are called what they like (`utils`, `models`) and
must not meet this process's; what they change in torch, or print, stays there; if they end or crash their process, an
error is left; and the file is then held against torch's results by a process that their code never ran in. It is no
sandbox: the code can do all that its user can.
"""

from skyfan.photoz.foreign.exporting import ExportedModule, export_pickled
from skyfan.photoz.foreign.pickles import refuse_pickled

__all__ = ["ExportedModule", "export_pickled", "refuse_pickled"]

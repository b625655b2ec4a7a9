// One import for programs: everything public of the modules below.

@_exported public import Collectives
@_exported public import DataParallel
@_exported public import Kernels
@_exported public import Learning
@_exported public import MPI
@_exported public import Measurement

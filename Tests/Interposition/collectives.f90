! A Fortran program that knows nothing of RingTrain: the same collectives, with Fortran's types and MPI_IN_PLACE, through
! `mpi` and `mpi_f08`.
!
! mpif90 collectives.f90; mpirun -np 3 ./a.out

module newer
contains
  subroutine check_newer(failures)
    use mpi_f08
    integer, intent(inout) :: failures
    integer :: rank, size, i
    double precision :: numbers(500), sums(500)
    call MPI_Comm_rank(MPI_COMM_WORLD, rank)
    call MPI_Comm_size(MPI_COMM_WORLD, size)
    numbers = [(dble(rank + i), i = 1, 500)]
    ! The error code is left out.
    call MPI_Allreduce(numbers, sums, 500, MPI_DOUBLE_PRECISION, MPI_SUM, MPI_COMM_WORLD)
    if (any(sums /= [(dble(size * i + size * (size - 1) / 2), i = 1, 500)])) failures = failures + 1
    call MPI_Allreduce(MPI_IN_PLACE, numbers, 500, MPI_DOUBLE_PRECISION, MPI_MAX, MPI_COMM_WORLD)
    if (any(numbers /= [(dble(size - 1 + i), i = 1, 500)])) failures = failures + 1
    call MPI_Barrier(MPI_COMM_WORLD)
  end subroutine
end module

program collectives
  use mpi
  use newer
  implicit none
  integer :: rank, size, error, failures, total, i, part, half
  integer :: whole(2000), all(2000), alike(8), digit
  real :: numbers(1000)
  logical :: yes
  external :: keep_first_digit

  call MPI_INIT(error)
  call MPI_COMM_RANK(MPI_COMM_WORLD, rank, error)
  call MPI_COMM_SIZE(MPI_COMM_WORLD, size, error)
  failures = 0

  whole = rank
  call MPI_ALLREDUCE(whole, all, 2000, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD, error)
  if (error /= MPI_SUCCESS .or. any(all /= size * (size - 1) / 2)) failures = failures + 1
  numbers = real(rank)
  call MPI_ALLREDUCE(MPI_IN_PLACE, numbers, 1000, MPI_REAL, MPI_MAX, MPI_COMM_WORLD, error)
  if (any(numbers /= real(size - 1))) failures = failures + 1
  whole = 2**rank
  call MPI_ALLREDUCE(MPI_IN_PLACE, whole, 2000, MPI_INTEGER, MPI_BOR, MPI_COMM_WORLD, error)
  if (any(whole /= 2**size - 1)) failures = failures + 1

  ! Not ours: Fortran's logicals and a user's operation.
  call MPI_ALLREDUCE(rank == 0, yes, 1, MPI_LOGICAL, MPI_LOR, MPI_COMM_WORLD, error)
  if (.not. yes) failures = failures + 1
  call MPI_OP_CREATE(keep_first_digit, .true., digit, error)
  call MPI_ALLREDUCE(7, total, 1, MPI_INTEGER, digit, MPI_COMM_WORLD, error)
  if (total /= mod(7 * size, 10)) failures = failures + 1
  call MPI_OP_FREE(digit, error)

  call MPI_COMM_SPLIT(MPI_COMM_WORLD, mod(rank, 2), rank, half, error)
  call MPI_ALLREDUCE(1, part, 1, MPI_INTEGER, MPI_SUM, half, error)
  if (part /= (size + 1 - mod(rank, 2)) / 2) failures = failures + 1
  call MPI_COMM_FREE(half, error)

  whole = 0
  if (rank == size - 1) whole = [(i, i = 1, 2000)]
  call MPI_BCAST(whole, 2000, MPI_INTEGER, size - 1, MPI_COMM_WORLD, error)
  if (any(whole /= [(i, i = 1, 2000)])) failures = failures + 1
  all(100 * rank + 1:100 * rank + 100) = rank
  call MPI_ALLGATHER(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, 100, MPI_INTEGER, MPI_COMM_WORLD, error)
  if (any(all(1:100 * size) /= [((part, i = 1, 100), part = 0, size - 1)])) failures = failures + 1
  alike(1:size) = rank
  call MPI_REDUCE_SCATTER_BLOCK(alike, part, 1, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD, error)
  if (part /= size * (size - 1) / 2) failures = failures + 1
  call MPI_BARRIER(MPI_COMM_WORLD, error)

  call check_newer(failures)
  call MPI_ALLREDUCE(failures, total, 1, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD, error)
  if (rank == 0) print '(i0, a)', total, ' failures'
  call MPI_FINALIZE(error)
  if (total /= 0) stop 1
end program

subroutine keep_first_digit(in, inout, count, type)
  implicit none
  integer :: count, type, in(count), inout(count)
  inout = mod(in + inout, 10)
end subroutine

// swift-tools-version: 6.2
import PackageDescription

let numerics = Target.Dependency.product(name: "Numerics", package: "swift-numerics")
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let atomics = Target.Dependency.product(name: "Atomics", package: "swift-atomics")

let package = Package(
  name: "RingTrain",
  products: [
    .library(name: "RingTrain", targets: ["RingTrain"]),
    // Preloaded by MPI programs that know nothing of it.
    .library(name: "RingTrainMPI", type: .dynamic, targets: ["Interposition"]),
    // Apart, so that who trains linear models alone links no oneDNN.
    .library(name: "Networks", targets: ["Networks", "NetworkFiles"]),
    .executable(name: "ringtrain", targets: ["RingTrainCLI"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-numerics", from: "1.1.0"),
    .package(url: "https://github.com/apple/swift-atomics", from: "1.3.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // Dependencies point down only: RingTrainCLI → RingTrain → DataParallel → Collectives → MPI → CMPI.
    .systemLibrary(name: "CMPI", pkgConfig: "ompi-c", providers: [.apt(["libopenmpi-dev", "openmpi-bin"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "COneDNN", providers: [.apt(["libdnnl-dev"])]),
    .target(name: "CKernels"),
    .target(name: "Kernels", dependencies: ["CKernels"]),
    .target(name: "MPI", dependencies: ["CMPI", atomics]),
    .target(name: "Collectives", dependencies: ["MPI", "Kernels", "CKernels", atomics]),
    .target(name: "CInterposer", dependencies: ["CMPI"]),
    .target(name: "Interposition", dependencies: ["CInterposer", "Collectives"], exclude: ["README.md"]),
    .target(name: "Learning", dependencies: ["Kernels", "CZlib", numerics]),
    .target(name: "Networks", dependencies: ["COneDNN", "Learning", "Kernels", "CKernels"]),
    .target(name: "NetworkFiles", dependencies: ["Networks", "Learning", yams]),
    .target(name: "DataParallel", dependencies: ["Collectives", "Learning", "Measurement"]),
    .target(name: "Measurement", dependencies: ["Collectives"]),
    .target(name: "RingTrain", dependencies: ["DataParallel", "Measurement"]),
    // Without MPI: it is what starts mpirun.
    .target(name: "Supervision", dependencies: [logging]),
    .executableTarget(
      name: "RingTrainCLI",
      dependencies: ["RingTrain", "Networks", "NetworkFiles", "Supervision", "CZlib", argumentParser, logging]),

    .executableTarget(
      name: "full-batch-bandwidth", dependencies: ["RingTrain", argumentParser], path: "Benchmarks/FullBatchBandwidth",
      exclude: ["run.sh"]),
    .executableTarget(
      name: "check-overhead", dependencies: ["RingTrain", "MPI", argumentParser], path: "Benchmarks/Checks",
      exclude: ["run.sh"]),
    .executableTarget(
      name: "seed-example", dependencies: ["RingTrain", argumentParser], path: "Benchmarks/SeedExample",
      exclude: ["compare.py", "run.sh"]),
    .executableTarget(
      name: "network-benchmark", dependencies: ["RingTrain", "Networks", argumentParser], path: "Benchmarks/Networks",
      exclude: ["peer.py", "run.sh"]),
    // The programs of the README.
    .executableTarget(
      name: "own-network", dependencies: ["RingTrain", "Networks"], path: "mpirun-examples/own-network",
      exclude: ["run.sh"]),
    .executableTarget(
      name: "own-data", dependencies: ["RingTrain"], path: "mpirun-examples/own-data", exclude: ["run.sh"]),

    .executableTarget(
      name: "scaling-report", dependencies: ["Measurement", argumentParser], path: "Benchmarks/Scaling/Report"),

    .target(name: "TestSupport", path: "Tests/TestSupport"),
    .testTarget(name: "NetworksTests", dependencies: ["Networks", "Learning", "Kernels", "CKernels"]),
    .testTarget(name: "NetworkFilesTests", dependencies: ["NetworkFiles", "Networks", "Learning", "TestSupport"]),
    .testTarget(name: "LearningTests", dependencies: ["Learning"]),
    .testTarget(name: "CollectivesTests", dependencies: ["Collectives", "MPI"]),
    .testTarget(name: "MeasurementTests", dependencies: ["Measurement"]),
    .testTarget(name: "SupervisionTests", dependencies: ["Supervision"]),
    // Started by the tests under mpirun.
    .executableTarget(
      name: "multirank-suite",
      dependencies: [
        "MPI", "Kernels", "Collectives", "Measurement", "Learning", "Networks", "DataParallel", "CZlib",
      ],
      path: "Tests/MultiRankSuite"),
    // Damages input, or is fed by libFuzzer (`Tests/fuzz.sh`).
    .executableTarget(
      name: "hostile-input", dependencies: ["Learning", "Collectives", "DataParallel", "NetworkFiles"],
      path: "Tests/HostileInput"),
    .testTarget(name: "MultiRankTests", dependencies: ["TestSupport"]),
    .testTarget(name: "MultiHostTests", dependencies: ["TestSupport", "Learning"]),
  ],
  swiftLanguageModes: [.v6]
)

// Imports are internal unless said otherwise, so that C modules stay out of the public interface.
let ofC = ["CKernels", "CInterposer"]
for target in package.targets where [.regular, .executable, .test].contains(target.type) && !ofC.contains(target.name) {
  target.swiftSettings = (target.swiftSettings ?? []) + [.enableUpcomingFeature("InternalImportsByDefault")]
}

// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "own-model",
  dependencies: [.package(name: "RingTrain", path: "../..")],
  targets: [
    .executableTarget(name: "own-model", dependencies: [.product(name: "RingTrain", package: "RingTrain")])
  ],
  swiftLanguageModes: [.v6]
)

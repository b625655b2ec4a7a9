public import ArgumentParser
public import Logging
public import RingTrain

// The types of other modules that flags are made of, by their raw values.
extension AllreduceAlgorithm: ExpressibleByArgument {}
extension BenchmarkBuffers: ExpressibleByArgument {}
extension BenchmarkElement: ExpressibleByArgument {}
extension BenchmarkOperation: ExpressibleByArgument {}
extension DataFormat: ExpressibleByArgument {}
extension ShardReading: ExpressibleByArgument {}
extension Logger.Level: @retroactive ExpressibleByArgument {}

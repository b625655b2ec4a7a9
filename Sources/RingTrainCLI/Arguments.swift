public import ArgumentParser
public import Logging
public import Networks
public import RingTrain

// The types of other modules that flags are made of, by their raw values.
extension AllreduceAlgorithm: ExpressibleByArgument {}
extension BenchmarkElement: ExpressibleByArgument {}
extension BenchmarkOperation: ExpressibleByArgument {}
extension ComputingType: ExpressibleByArgument {}
extension GradientExchange.Overlap: ExpressibleByArgument {}
extension WireFormat: ExpressibleByArgument {}
extension DataFormat: ExpressibleByArgument {}
extension ShardReading: ExpressibleByArgument {}
extension Logger.Level: @retroactive ExpressibleByArgument {}

/// The version of RingTrain.
public let ringTrainVersion = "0.1.0"

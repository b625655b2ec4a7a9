/// What one rank sends and receives in a collective, worked out before anything is sent: a value, tested without MPI.
///
/// Sends go out in order and receives complete in order, so that messages between two ranks match by position. Beyond
/// that a send waits only for the receives whose elements it forwards, and a receive only for the sends whose elements
/// it overwrites: while one segment is reduced, the next is on its way.
package struct Schedule: Equatable, Sendable {
  /// A message to a peer.
  package struct Send: Equatable, Sendable {
    package let peer: Int
    /// The elements of the buffer that are sent.
    package let range: Range<Int>
    /// How many of the receives must be complete before.
    package let receivesBefore: Int
    /// Whether these elements are a part of the result, which all ranks must get with the same bits: what a wire format
    /// rounds away is then lost to the sender, too.
    package let isFinal: Bool
  }

  /// A message from a peer.
  package struct Receive: Equatable, Sendable {
    package let peer: Int
    /// The elements of the buffer that are changed.
    package let range: Range<Int>
    package let action: Action
    /// How many of the sends must be complete before the elements change.
    package let sendsBefore: Int
  }

  /// What happens with elements that arrive.
  package enum Action: Equatable, Sendable {
    /// `mine = mine ∘ theirs`.
    case combine
    /// `mine = theirs ∘ mine`: theirs come first in the order of the ranks.
    case combineReversed
    /// `mine = theirs`.
    case replace
  }

  /// How far a schedule is: numbers of sends and receives.
  package struct Point: Equatable, Sendable {
    package let sends: Int
    package let receives: Int
  }

  /// After everything that has been added so far.
  package var end: Point { Point(sends: sends.count, receives: receives.count) }

  package private(set) var sends: [Send] = []
  package private(set) var receives: [Receive] = []
  /// Longest message that is combined, in elements: how much scratch memory one needs.
  package private(set) var longestCombined = 0
  /// Longest message, in elements.
  package private(set) var longest = 0
  private let segment: Int

  /// - Parameter segment: the most elements in one message; longer ones are cut.
  package init(segment: Int) {
    precondition(segment > 0)
    self.segment = segment
  }

  /// Adds a step: a send, a receive, or both at once; `isFinal` says of a send that it is of the result. The send has the elements as all steps before left them.
  package mutating func step(
    send: (to: Int, range: Range<Int>)? = nil, receive: (from: Int, range: Range<Int>, action: Action)? = nil,
    isFinal: Bool = false
  ) {
    let receivesBeforeStep = receives.count
    if let send {
      for piece in pieces(of: send.range) {
        let last = receives[..<receivesBeforeStep].lastIndex { $0.range.overlaps(piece) }
        sends.append(
          Send(peer: send.to, range: piece, receivesBefore: last.map { $0 + 1 } ?? 0, isFinal: isFinal))
        longest = max(longest, piece.count)
      }
    }
    if let receive {
      for piece in pieces(of: receive.range) {
        let last = sends.lastIndex { $0.range.overlaps(piece) }
        receives.append(
          Receive(
            peer: receive.from, range: piece, action: receive.action, sendsBefore: last.map { $0 + 1 } ?? 0))
        longest = max(longest, piece.count)
        if receive.action != .replace { longestCombined = max(longestCombined, piece.count) }
      }
    }
  }

  /// Sender and receiver cut the same range alike. An empty one is no message at all.
  private func pieces(of range: Range<Int>) -> [Range<Int>] {
    stride(from: range.lowerBound, to: range.upperBound, by: segment).map {
      $0..<min($0 + segment, range.upperBound)
    }
  }
}

import Testing

/// What `ringtrain` does on one host: one job at a time, beside one of ``MultiRankTests`` or of several hosts.
@Suite(.serialized) struct CommandTests {}

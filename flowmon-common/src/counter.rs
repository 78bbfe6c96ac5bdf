//! Everything the kernel side could not attribute, by cause.

use crate::parse::Refusal;

/// Index of the per-CPU `COUNTERS` array. Each counts wire packets, except where it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Counter {
    /// The frame ends inside its link-layer header.
    TruncatedLink = 0,
    /// The frame ends inside its IP header or an extension header.
    TruncatedNetwork = 1,
    /// The IP version or header length is impossible.
    BadNetwork = 2,
    /// The frame ends inside its transport header.
    TruncatedTransport = 3,
    /// The transport header states an impossible length.
    BadTransport = 4,
    /// More IPv6 extension headers than any sane packet has.
    TooManyExtensions = 5,
    /// The flow map refused a new entry: the packet is in the totals, in no flow.
    MapFull = 6,
    /// The event ring was full: flows (not packets) that only the next drain will find.
    EventsLost = 7,
    /// A packet on an interface that userspace did not register: in no total either.
    UnknownInterface = 8,
}

impl Counter {
    /// How many there are.
    pub const COUNT: u32 = Self::UnknownInterface as u32 + 1;

    /// All of them, in the order of their index.
    pub const ALL: [Self; Self::COUNT as usize] = [
        Self::TruncatedLink,
        Self::TruncatedNetwork,
        Self::BadNetwork,
        Self::TruncatedTransport,
        Self::BadTransport,
        Self::TooManyExtensions,
        Self::MapFull,
        Self::EventsLost,
        Self::UnknownInterface,
    ];

    /// The name in reports and metrics: a promise to users.
    pub const fn label(self) -> &'static str {
        match self {
            Self::TruncatedLink => "truncated_link",
            Self::TruncatedNetwork => "truncated_network",
            Self::BadNetwork => "bad_network",
            Self::TruncatedTransport => "truncated_transport",
            Self::BadTransport => "bad_transport",
            Self::TooManyExtensions => "too_many_extensions",
            Self::MapFull => "map_full",
            Self::EventsLost => "events",
            Self::UnknownInterface => "unknown_interface",
        }
    }

    /// Does it count packets that the parser refused (`unparsed`), rather than something lost?
    pub const fn is_refusal(self) -> bool {
        (self as u32) < Self::MapFull as u32
    }
}

impl From<Refusal> for Counter {
    #[inline(always)]
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TruncatedLink => Self::TruncatedLink,
            Refusal::TruncatedNetwork => Self::TruncatedNetwork,
            Refusal::BadNetwork => Self::BadNetwork,
            Refusal::TruncatedTransport => Self::TruncatedTransport,
            Refusal::BadTransport => Self::BadTransport,
            Refusal::TooManyExtensions => Self::TooManyExtensions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counter;

    #[test]
    fn all_is_in_index_order() {
        for (index, counter) in (0u32..).zip(Counter::ALL) {
            assert_eq!(counter as u32, index);
        }
    }
}

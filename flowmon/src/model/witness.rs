//! Two counts of what an endpoint sent, and what their difference is worth.

use std::cmp::{max, min};

use flowmon_common::{Crossed, Traffic, Witness, wire::VLAN_TAG_LEN};
use serde::Serialize;

/// Both counts of one interface at about the same time. They are not read at once, so what is known
/// of their difference is that it lies between two numbers, which are one when nothing was sent
/// meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// What crossed by the count of the flow programs, before `witness` was read.
    pub before: Crossed,
    /// The witness.
    pub witness: Witness,
    /// As `before`, after it was read.
    pub after: Crossed,
}

/// How much more the witness saw than the flow programs; less, when negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Difference {
    /// Frames; a GSO super-packet is one.
    pub frames: i64,
    /// Bytes of the frames.
    pub bytes: i64,
}

/// A difference between two numbers, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// The one.
    pub low: Difference,
    /// The other.
    pub high: Difference,
}

impl Reading {
    /// The difference where both see buffers, as generic XDP does. Of a tag in the data it is not
    /// known whether it was taken out before tc.
    pub fn buffers(&self) -> Range {
        let Witness { seen, tagged, .. } = self.witness;
        let tags = Difference {
            frames: 0,
            bytes: tagged.saturating_mul(VLAN_TAG_LEN.into()).cast_signed(),
        };
        Range {
            low: Difference::of(seen, self.after.buffers.tx),
            high: Difference::of(seen, self.before.buffers.tx),
        }
        .widened(tags)
    }

    /// The difference where XDP sees what is on the wire, as in a driver. Only frames: their bytes
    /// do not add up where several were made one buffer before tc.
    pub fn frames(&self) -> Range {
        let frames = |counted| Difference {
            bytes: 0,
            ..Difference::of(self.witness.seen, counted)
        };
        Range {
            low: frames(self.after.wire.tx),
            high: frames(self.before.wire.tx),
        }
    }
}

impl Difference {
    const fn of(seen: Traffic, counted: Traffic) -> Self {
        Self {
            frames: seen.packets.wrapping_sub(counted.packets).cast_signed(),
            bytes: seen.bytes.wrapping_sub(counted.bytes).cast_signed(),
        }
    }

    /// Is there none?
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn zip(self, other: Self, with: impl Fn(i64, i64) -> i64) -> Self {
        Self {
            frames: with(self.frames, other.frames),
            bytes: with(self.bytes, other.bytes),
        }
    }
}

impl Range {
    /// By how much this is beyond `base`, whatever the two are within their limits.
    #[must_use]
    pub fn beyond(&self, base: &Self) -> Self {
        Self {
            low: self.low.zip(base.high, i64::saturating_sub),
            high: self.high.zip(base.low, i64::saturating_sub),
        }
    }

    /// As it is when so much may have been on its way from one count to the other.
    #[must_use]
    pub fn widened(&self, by: Difference) -> Self {
        Self {
            low: self.low.zip(by, i64::saturating_sub),
            high: self.high,
        }
    }

    /// What is certain, when so much was `known` before: as much of it as is still possible, and no
    /// more beyond it than must be.
    pub fn certain(&self, known: Difference) -> Difference {
        known.zip(self.low, max).zip(self.high, min)
    }
}

#[cfg(test)]
mod tests {
    use flowmon_common::Totals;

    use super::*;

    fn reading(before: u64, seen: u64, after: u64) -> Range {
        let traffic = |packets| Traffic { packets, bytes: 0 };
        let crossed = |packets| Crossed {
            buffers: Totals {
                tx: traffic(packets),
                ..Totals::default()
            },
            ..Crossed::default()
        };
        let reading = Reading {
            before: crossed(before),
            witness: Witness {
                seen: traffic(seen),
                ..Witness::default()
            },
            after: crossed(after),
        };
        reading.buffers()
    }

    const NONE: Difference = Difference {
        frames: 0,
        bytes: 0,
    };

    #[test]
    fn nothing_meanwhile_is_one_number() {
        let range = reading(6, 10, 6);
        assert_eq!((range.low.frames, range.high.frames), (4, 4));
        assert_eq!(range.certain(NONE).frames, 4);
        assert!(range.beyond(&range).certain(NONE).is_none());
    }

    #[test]
    fn traffic_meanwhile_is_no_difference_and_ends_none() {
        let range = reading(7, 10, 12);
        assert_eq!((range.low.frames, range.high.frames), (-2, 3));
        assert!(range.certain(NONE).is_none());
        let known = Difference {
            frames: 1,
            bytes: 0,
        };
        assert_eq!(range.certain(known), known);
    }

    #[test]
    fn either_sign_is_told_in_part() {
        assert_eq!(reading(5, 10, 7).certain(NONE).frames, 3);
        assert_eq!(reading(10, 4, 12).certain(NONE).frames, -6);
    }

    #[test]
    fn what_may_be_on_its_way_is_not_certain() {
        let on_its_way = Difference {
            frames: 2,
            bytes: 0,
        };
        assert!(
            reading(9, 10, 9)
                .widened(on_its_way)
                .certain(NONE)
                .is_none()
        );
        let more = reading(9, 15, 9).widened(on_its_way);
        assert_eq!(more.certain(NONE).frames, 4);
    }
}

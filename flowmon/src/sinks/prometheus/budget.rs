//! How many time series there may be, and who may have how many of them.

/// Counts series. What does not fit is added to a series that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Budget {
    most: usize,
    used: usize,
}

/// For whom a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// A peer that has its name.
    Peer,
    /// Round trips of an endpoint.
    RoundTrips,
    /// An endpoint or an interface as a whole: what the others must leave room for.
    Whole,
}

/// So many are kept for those that name no one: all there can be of these.
pub(super) const NAMELESS: usize = 256;

impl Budget {
    pub(super) const fn of(most: usize) -> Self {
        Self { most, used: 0 }
    }

    /// Takes so many series, if there is room.
    pub(super) const fn take(&mut self, series: usize, by: For) -> bool {
        let limit = match by {
            For::Peer => self.most / 8 * 7,
            For::RoundTrips => self.most / 4 * 3,
            For::Whole => self.most,
        };
        let fits = self.used + series + NAMELESS <= limit;
        if fits {
            self.used += series;
        }
        fits
    }

    /// Gives them back.
    pub(super) const fn give(&mut self, series: usize) {
        self.used -= series;
    }

    /// Does everybody get a name?
    pub(super) const fn is_ample(&self) -> bool {
        self.used < self.most / 2
    }

    /// Series left for those who get a name by their weight.
    pub(super) const fn left_for_heavy(&self) -> usize {
        (self.most / 4 * 3).saturating_sub(self.used)
    }
}

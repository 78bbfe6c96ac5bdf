//! Yes, no, or it can't be said: Kleene's logic, with the reason for the third.

use crate::policy::Reason;

/// Does a rule match?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::policy) enum Match {
    Yes,
    No,
    Maybe(Reason),
}

impl Match {
    /// Both.
    pub(in crate::policy) const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, other) => other,
            (maybe @ Self::Maybe(_), _) => maybe,
        }
    }

    /// Either.
    pub(in crate::policy) const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, other) => other,
            (maybe @ Self::Maybe(_), _) => maybe,
        }
    }
}

impl From<bool> for Match {
    fn from(is_match: bool) -> Self {
        if is_match { Self::Yes } else { Self::No }
    }
}

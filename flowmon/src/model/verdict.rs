//! What policies say of a flow, as records and metrics tell it.

use std::sync::Arc;

use serde::Serialize;

use super::Direction;

/// What a verdict comes to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Policies let it pass.
    Allowed,
    /// Policies forbid it.
    Denied,
    /// It can't be said, for the reason given.
    Undecided,
}

impl Outcome {
    /// As in records and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Undecided => "undecided",
        }
    }
}

/// `verdict` of a flow record: the word of the endpoint's own policies on the flow.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Verdict {
    /// What it comes to. A flow that is denied is a violation.
    pub outcome: Outcome,
    /// The flow's direction.
    pub direction: Direction,
    /// The policy that decided, where one did, as `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<str>>,
    /// The kind of that policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The rule of it, where one did, as `egress[0].to[1]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<str>>,
    /// Why, as in `policy::Reason`.
    pub reason: &'static str,
    /// What the peer's policies come to; none when they have nothing to say.
    #[serde(serialize_with = "peer_outcome")]
    pub peer_outcome: Option<Outcome>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    reason = "serde gives a reference"
)]
fn peer_outcome<S: serde::Serializer>(
    outcome: &Option<Outcome>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.map_or("not-applicable", Outcome::label))
}

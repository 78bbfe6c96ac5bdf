//! What can be said of a connection, and why.

use std::{net::IpAddr, sync::Arc};

use super::{inventory::PodId, model::PolicyId};
pub use crate::model::Outcome;

/// A connection, as the initiator opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Who opened it.
    pub initiator: End,
    /// Who was to answer.
    pub responder: End,
    /// IP protocol number.
    pub protocol: u8,
    /// The responder's port; none where the protocol has none, or where it is not known.
    pub port: Option<u16>,
}

/// One end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// The pod behind it, where that is known better than by the address (the record names it, or
    /// flowmon saw the flow at the pod's own interface). Otherwise the address is looked up.
    pub pod: Option<PodId>,
}

/// Both sides' word on a connection. It is allowed if neither side denies it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    /// The initiator's policies on what it sends; `None` when it is no pod that policies bind.
    pub egress: Option<Verdict>,
    /// The responder's policies on what it receives, alike.
    pub ingress: Option<Verdict>,
}

impl Verdicts {
    /// Both sides together: that one denies is certain whatever the other says.
    pub fn outcome(&self) -> Outcome {
        let mut outcomes = [&self.egress, &self.ingress]
            .into_iter()
            .flatten()
            .map(|verdict| verdict.outcome);
        if outcomes.clone().any(|outcome| outcome == Outcome::Denied) {
            return Outcome::Denied;
        }
        outcomes
            .find(|outcome| *outcome != Outcome::Allowed)
            .unwrap_or(Outcome::Allowed)
    }
}

/// One side's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What it comes to.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The policy that decided, or left it undecided, where one did; of several that isolate the
    /// pod, the first.
    pub policy: Option<PolicyId>,
    /// The rule of it, as `egress[0]`, with the peer that matched as `egress[0].to[1]`.
    pub rule: Option<Arc<str>>,
}

/// Why a verdict is what it is. Labels are promises to users (`verdict.reason` of a flow record).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A rule matched.
    RuleMatched,
    /// Policies isolate the pod, and no rule of theirs matched.
    NoRuleMatched,
    /// No policy isolates the pod in this direction.
    NotIsolated,
    /// There is no policy at all.
    NoPolicies,
    /// A pod always reaches itself.
    Itself,
    /// A node always reaches its own pods; that they always reach it is a setting.
    OwnNode,
    /// The pod is isolated, and what that means for other protocols than TCP, UDP and SCTP is not
    /// defined.
    UndefinedProtocol,
    /// It went to a service, and which pods would have got it is not known; or a rule goes by
    /// addresses, and would judge the service's otherwise than the pod's.
    ServiceAddress,
    /// It went to a service, and not all who answer for it get the same verdict.
    BackendsDiffer,
    /// Policies of the same priority say different things.
    EqualPriorities,
    /// A rule goes by domain names, and which addresses these have is not known.
    DomainNames,
    /// A rule names ports, and the responder's is not known.
    UnknownPort,
    /// The pod is not in the inventory.
    UnknownPod,
    /// Other labels than the name of the pod's namespace are not in the inventory.
    UnknownNamespace,
    /// It depends on a node that is not in the inventory.
    UnknownNode,
    /// More than one pod has the address.
    AmbiguousAddress,
    /// Who opened it is not known: said by who asks, as a [`Connection`] has an initiator.
    UnknownDirection,
    /// Which pod it was seen at is not known: said by who asks.
    UnknownEndpoint,
    /// It was for an address that is not the endpoint's, and came to it all the same: said by who asks.
    OtherDestination,
    /// Which policies there are is not known yet: said by who asks.
    UnknownPolicies,
}

impl Reason {
    /// Every one.
    pub const ALL: [Self; 20] = [
        Self::RuleMatched,
        Self::NoRuleMatched,
        Self::NotIsolated,
        Self::NoPolicies,
        Self::Itself,
        Self::OwnNode,
        Self::UndefinedProtocol,
        Self::ServiceAddress,
        Self::BackendsDiffer,
        Self::EqualPriorities,
        Self::DomainNames,
        Self::UnknownPort,
        Self::UnknownPod,
        Self::UnknownNamespace,
        Self::UnknownNode,
        Self::AmbiguousAddress,
        Self::UnknownDirection,
        Self::UnknownEndpoint,
        Self::OtherDestination,
        Self::UnknownPolicies,
    ];

    /// Its name in records and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RuleMatched => "rule-matched",
            Self::NoRuleMatched => "no-rule-matched",
            Self::NotIsolated => "not-isolated",
            Self::NoPolicies => "no-policies",
            Self::Itself => "itself",
            Self::OwnNode => "own-node",
            Self::UndefinedProtocol => "undefined-protocol",
            Self::ServiceAddress => "service-address",
            Self::BackendsDiffer => "backends-differ",
            Self::EqualPriorities => "equal-priorities",
            Self::DomainNames => "domain-names",
            Self::UnknownPort => "unknown-port",
            Self::UnknownPod => "unknown-pod",
            Self::UnknownNamespace => "unknown-namespace",
            Self::UnknownNode => "unknown-node",
            Self::AmbiguousAddress => "ambiguous-address",
            Self::UnknownDirection => "unknown-direction",
            Self::UnknownEndpoint => "unknown-endpoint",
            Self::OtherDestination => "other-destination",
            Self::UnknownPolicies => "unknown-policies",
        }
    }
}

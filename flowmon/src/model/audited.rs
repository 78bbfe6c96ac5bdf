//! What policies say of all flows so far.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use serde::Serialize;

use super::{EndpointKind, Protocol, Verdict};

/// Every flow once, by its latest verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Audited {
    /// Flows that are denied.
    pub violations: u64,
    /// Flows of which nothing can be said.
    pub undecided: u64,
    /// Flows that are allowed.
    pub allowed: u64,
    /// Flows that no policy is about, by why.
    pub not_judged: BTreeMap<&'static str, u64>,
    /// Undecided flows by reason.
    pub undecided_reasons: BTreeMap<&'static str, u64>,
    /// Denied flows by policy, ends and port; the most flows first. What has no room is in groups that
    /// name no one, so that sums are exact.
    pub violation_groups: Vec<Violation>,
    /// Policies in force, by kind.
    pub policies: BTreeMap<&'static str, usize>,
    /// Times that policies or inventory were to be read anew and could not be: the last ones stayed.
    pub policy_reload_failures: u64,
}

/// Denied flows that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The verdict on all of them.
    pub verdict: Verdict,
    /// Where they were seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Someone>,
    /// The other end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<Someone>,
    /// What they speak.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The port that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How many flows.
    pub flows: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions.
    pub bytes: u64,
}

/// An end of flows, by the best name it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Someone {
    /// What it is.
    pub kind: EndpointKind,
    /// Its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Its address, where no more is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
}

impl fmt::Display for Someone {
    /// `shop/cart`, `node worker`, `10.0.0.5`
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self.kind, EndpointKind::Service | EndpointKind::Node) {
            write!(out, "{} ", self.kind.label())?;
        }
        match (&self.namespace, &self.name, self.ip) {
            (Some(namespace), Some(name), _) => write!(out, "{namespace}/{name}"),
            (None, Some(name), _) => out.write_str(name),
            (_, None, Some(address)) => write!(out, "{address}"),
            (_, None, None) => out.write_str("?"),
        }
    }
}

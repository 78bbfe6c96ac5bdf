//! `policy.networking.k8s.io`: `ClusterNetworkPolicy`, `AdminNetworkPolicy` and
//! `BaselineAdminNetworkPolicy`, validated as their custom resource definitions say
//! (`sigs.k8s.io/network-policy-api`, experimental channel).
//!
//! They are one language in two spellings; [`Dialect`] is the difference.

use super::{
    admin_peer::{read_peer, read_subject},
    admin_port,
    metadata::short,
    walk::{Cursor, Fields, Findings},
};
use crate::policy::model::{
    Action, Kind, Peer, PeerMatch, Peers, Port, PortMatch, Ports, Rule, Subject, Tier,
};

/// How a kind spells what all of them say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    pub(super) kind: Kind,
    /// Networks must be written without host bits (from v1beta1 on).
    pub(super) masked_only: bool,
}

impl Dialect {
    /// Spelled as in v1alpha2.
    pub(super) const fn is_cluster(self) -> bool {
        matches!(self.kind, Kind::ClusterNetworkPolicy)
    }

    const fn most_rules(self) -> usize {
        if self.is_cluster() { 25 } else { 100 }
    }

    /// Peers of a rule, ports of a rule.
    const fn most_items(self) -> usize {
        if self.is_cluster() { 25 } else { 100 }
    }

    fn action(self, text: &str) -> Result<Action, &'static str> {
        match (text, self.kind) {
            ("Accept", Kind::ClusterNetworkPolicy)
            | ("Allow", Kind::AdminNetworkPolicy | Kind::BaselineAdminNetworkPolicy) => {
                Ok(Action::Accept)
            }
            ("Deny", _) => Ok(Action::Deny),
            ("Pass", Kind::ClusterNetworkPolicy | Kind::AdminNetworkPolicy) => Ok(Action::Pass),
            (_, Kind::ClusterNetworkPolicy) => Err("the actions are Accept, Deny and Pass"),
            (_, Kind::BaselineAdminNetworkPolicy) => Err("the actions are Allow and Deny"),
            _ => Err("the actions are Allow, Deny and Pass"),
        }
    }
}

/// Characters of a rule's name.
const LONGEST_NAME: usize = 100;

/// What `spec` comes to.
pub(super) struct Spec {
    pub(super) tier: Tier,
    pub(super) subject: Subject,
    pub(super) ingress: Vec<Rule>,
    pub(super) egress: Vec<Rule>,
}

/// Reads `spec`.
pub(super) fn read(
    object: &mut Fields<'_, '_>,
    dialect: Dialect,
    findings: &mut Findings<'_>,
) -> Option<Spec> {
    let spec = object.require("spec", findings)?;
    let mut fields = spec.fields(findings);
    let tier = tier(&mut fields, dialect, findings);
    let subject = fields.require("subject", findings);
    let ingress = fields.get("ingress");
    let egress = fields.get("egress");
    fields.end(findings);

    let subject = subject.and_then(|at| read_subject(&at, dialect, findings));
    let mut rules = |at: Option<Cursor<'_, '_>>, peers| {
        at.map_or_else(Vec::new, |at| {
            let items = limited(&at, 0, dialect.most_rules(), findings);
            items
                .iter()
                .filter_map(|at| rule(at, peers, dialect, findings))
                .collect()
        })
    };
    let (ingress, egress) = (rules(ingress, "from"), rules(egress, "to"));
    Some(Spec {
        tier: tier?,
        subject: subject?,
        ingress,
        egress,
    })
}

fn tier(
    fields: &mut Fields<'_, '_>,
    dialect: Dialect,
    findings: &mut Findings<'_>,
) -> Option<Tier> {
    if dialect.kind == Kind::BaselineAdminNetworkPolicy {
        return Some(Tier::Baseline { priority: 0 });
    }
    let tier = match dialect.kind {
        Kind::ClusterNetworkPolicy => fields.require("tier", findings).and_then(|at| {
            let text = at.text(findings)?;
            if !matches!(text, "Admin" | "Baseline") {
                let says = format_args!("`{}`: the tiers are Admin and Baseline", short(text));
                findings.error(&at, "invalid-tier", says);
                return None;
            }
            Some(text)
        }),
        _ => Some("Admin"),
    };
    let at = fields.require("priority", findings)?;
    let number = at.integer(findings)?;
    let priority = i32::try_from(number)
        .ok()
        .filter(|number| (0..=1000).contains(number));
    if priority.is_none() {
        findings.error(&at, "invalid-priority", "a priority is between 0 and 1000");
    }
    let priority = priority?;
    Some(match tier? {
        "Admin" => Tier::Admin { priority },
        _ => Tier::Baseline { priority },
    })
}

fn rule(
    at: &Cursor<'_, '_>,
    peers: &'static str,
    dialect: Dialect,
    findings: &mut Findings<'_>,
) -> Option<Rule> {
    let mut fields = at.fields(findings);
    let name = fields.get("name");
    let action = fields.require("action", findings);
    let listed = fields.require(peers, findings);
    let ports = fields.get(if dialect.is_cluster() {
        "protocols"
    } else {
        "ports"
    });
    fields.end(findings);

    let name = name.and_then(|at| {
        let text = at.text(findings)?;
        if text.chars().count() > LONGEST_NAME {
            let says = format_args!("a rule's name has {LONGEST_NAME} characters at most");
            findings.error(&at, "invalid-name", says);
        }
        (!text.is_empty()).then(|| text.into())
    });
    let action = action.and_then(|at| {
        let text = at.text(findings)?;
        let action = dialect.action(text);
        if let Err(complaint) = action {
            let says = format_args!("`{}`: {complaint}", short(text));
            findings.error(&at, "invalid-action", says);
        }
        action.ok()
    });
    let found: Vec<Peer> = listed.map_or_else(Vec::new, |at| {
        let items = limited(&at, 1, dialect.most_items(), findings);
        let is_egress = peers == "to";
        items
            .iter()
            .filter_map(|at| read_peer(at, is_egress, action, dialect, findings))
            .collect()
    });
    let ports = ports.map(|at| {
        let items = limited(&at, 1, dialect.most_items(), findings);
        let read = |at| admin_port::read(at, dialect.is_cluster(), findings);
        items.iter().filter_map(read).collect::<Vec<Port>>()
    });
    no_names_without_pods(at, &found, ports.as_deref(), findings);
    Some(Rule {
        name,
        action: action?,
        peers: Peers::OneOf(found),
        ports: ports.map_or(Ports::All, Ports::OneOf),
        place: at.place(findings.file),
    })
}

/// The kinds' own rule: a named port is a pod's, other peers have none.
fn no_names_without_pods(
    at: &Cursor<'_, '_>,
    peers: &[Peer],
    ports: Option<&[Port]>,
    findings: &mut Findings<'_>,
) {
    let named = |port: &Port| matches!(port.what, PortMatch::Named { .. });
    let not_pods = |peer: &Peer| !matches!(peer.what, PeerMatch::Pods { .. } | PeerMatch::Unknown);
    if ports.is_some_and(|ports| ports.iter().any(named)) && peers.iter().any(not_pods) {
        let says = "a named port can't be combined with networks, nodes or domainNames: these have \
                    no named ports";
        findings.error(at, "named-port-without-pods", says);
    }
}

/// The items of a list that has a least and a greatest length.
pub(super) fn limited<'n, 't>(
    at: &Cursor<'n, 't>,
    least: usize,
    most: usize,
    findings: &mut Findings<'_>,
) -> Vec<Cursor<'n, 't>> {
    let items = at.list(findings);
    if items.len() < least {
        findings.error(
            at,
            "list-length",
            format_args!("needs {least} item at least"),
        );
    } else if items.len() > most {
        let says = format_args!("{} items are too many: {most} at most", items.len());
        findings.error(at, "list-length", says);
    }
    items
}

//! `policy.networking.k8s.io`: `ClusterNetworkPolicy`, `AdminNetworkPolicy` and
//! `BaselineAdminNetworkPolicy`, validated as their custom resource definitions say
//! (`sigs.k8s.io/network-policy-api`, experimental channel).
//!
//! They are one language in two spellings; [`Dialect`] is the difference.

use super::{
    admin_port,
    metadata::{check, short},
    network_policy::read_cidr,
    selector, syntax,
    walk::{Cursor, Fields, Findings},
};
use crate::policy::{
    Selector,
    model::{
        Action, Kind, Namespaces, Peer, PeerMatch, Peers, Port, PortMatch, Ports, Rule, Subject,
        Tier,
    },
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
    const fn is_cluster(self) -> bool {
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

/// Networks or domain names of one peer.
const MOST_NAMES: usize = 25;
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

fn read_subject(
    at: &Cursor<'_, '_>,
    dialect: Dialect,
    findings: &mut Findings<'_>,
) -> Option<Subject> {
    let mut fields = at.fields(findings);
    let namespaces = fields.get("namespaces");
    let pods = fields.get("pods");
    old_shapes(at, &mut fields, findings);
    exactly_one(&fields, findings);
    fields.end(findings);
    let (namespaces, pods) = match (namespaces, pods) {
        (Some(at), _) => (selector::read(&at, findings), Selector::default()),
        (None, Some(at)) => namespaced_pods(&at, dialect, findings)?,
        (None, None) => return None,
    };
    Some(Subject {
        namespaces: Namespaces::Selected(namespaces),
        pods,
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
            .filter_map(|at| peer(at, is_egress, action, dialect, findings))
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

fn peer(
    at: &Cursor<'_, '_>,
    is_egress: bool,
    action: Option<Action>,
    dialect: Dialect,
    findings: &mut Findings<'_>,
) -> Option<Peer> {
    let mut fields = at.fields(findings);
    let namespaces = fields.get("namespaces");
    let pods = fields.get("pods");
    let (mut nodes, mut networks, mut names) = (None, None, None);
    if is_egress {
        nodes = fields.get("nodes");
        networks = fields.get("networks");
        if dialect.kind != Kind::BaselineAdminNetworkPolicy {
            names = fields.get("domainNames");
        }
    }
    old_shapes(at, &mut fields, findings);
    exactly_one(&fields, findings);
    fields.end(findings);

    let what = if let Some(at) = namespaces {
        old_namespaces(&at, findings);
        PeerMatch::Pods {
            namespaces: Namespaces::Selected(selector::read(&at, findings)),
            pods: Selector::default(),
        }
    } else if let Some(at) = pods {
        let (namespaces, pods) = namespaced_pods(&at, dialect, findings)?;
        PeerMatch::Pods {
            namespaces: Namespaces::Selected(namespaces),
            pods,
        }
    } else if let Some(at) = nodes {
        PeerMatch::Nodes(selector::read(&at, findings))
    } else if let Some(at) = networks {
        PeerMatch::Networks(read_networks(&at, dialect, findings))
    } else if let Some(at) = names {
        if action.is_some_and(|action| action != Action::Accept) {
            findings.error(
                &at,
                "invalid-peer",
                "`domainNames` are for accepting rules only",
            );
        }
        PeerMatch::DomainNames(read_domain_names(&at, findings))
    } else {
        return None;
    };
    Some(Peer {
        what,
        place: at.place(findings.file),
    })
}

fn read_networks(
    at: &Cursor<'_, '_>,
    dialect: Dialect,
    findings: &mut Findings<'_>,
) -> Vec<ipnetwork::IpNetwork> {
    let items = limited(at, 1, MOST_NAMES, findings);
    no_twins(at, &items, findings);
    let mut found = Vec::new();
    for item in &items {
        let before = findings.problems.len();
        found.extend(read_cidr(item, findings));
        if dialect.masked_only
            && let Some(problem) = findings.problems.get_mut(before)
        {
            problem.severity = crate::policy::Severity::Error;
        }
    }
    found
}

fn read_domain_names(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Vec<std::sync::Arc<str>> {
    let items = limited(at, 1, MOST_NAMES, findings);
    no_twins(at, &items, findings);
    let mut found = Vec::new();
    for item in items {
        if let Some(text) = item.text(findings)
            && check(
                &item,
                syntax::domain_name(text),
                "invalid-domain-name",
                text,
                findings,
            )
        {
            let name = text.strip_suffix('.').unwrap_or(text);
            found.push(name.to_ascii_lowercase().into());
        }
    }
    found
}

fn namespaced_pods(
    at: &Cursor<'_, '_>,
    dialect: Dialect,
    findings: &mut Findings<'_>,
) -> Option<(Selector, Selector)> {
    let mut fields = at.fields(findings);
    let namespaces = if dialect.is_cluster() {
        fields.get("namespaceSelector")
    } else {
        fields.require("namespaceSelector", findings)
    };
    let pods = fields.require("podSelector", findings);
    if let Some(old) = fields.get("namespaces") {
        findings.error(&old, "old-shape", OLD);
    }
    fields.end(findings);
    if namespaces.is_none() && dialect.is_cluster() {
        let says = "without `namespaceSelector` it is about every namespace; if that is meant, write \
                    `namespaceSelector: {}`";
        findings.warning(at, "no-namespace-selector", says);
    }
    let namespaces = namespaces.map(|at| selector::read(&at, findings));
    let pods = pods.map(|at| selector::read(&at, findings));
    Some((namespaces.unwrap_or_default(), pods?))
}

const OLD: &str = "this is how v1alpha1 was written before release 0.1.2; it has other fields since: \
                   `namespaces: {matchLabels: …}` or `pods: {namespaceSelector: …, podSelector: …}`";

fn old_shapes(at: &Cursor<'_, '_>, fields: &mut Fields<'_, '_>, findings: &mut Findings<'_>) {
    for name in [
        "namespaceSelector",
        "namespaceAndPodSelector",
        "namespacedPods",
    ] {
        if at.node.entries().iter().any(|entry| entry.key == name)
            && let Some(old) = fields.get(name)
        {
            findings.error(&old, "old-shape", OLD);
        }
    }
}

fn old_namespaces(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) {
    let old = [
        "sameLabels",
        "notSameLabels",
        "namespaceSelector",
        "notSelf",
    ];
    if at
        .node
        .entries()
        .iter()
        .any(|entry| old.contains(&&*entry.key))
    {
        findings.error(at, "old-shape", OLD);
    }
}

/// Complains unless one field is set. The API server drops null fields of custom resources first.
pub(super) fn exactly_one(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) {
    let nulls = fields
        .all()
        .filter(|(_, value)| value.node.value == super::tree::Value::Null);
    if fields.count().saturating_sub(nulls.count()) != 1 {
        let says = "exactly one field must be set here";
        findings.error(&fields.whole, "not-exactly-one", says);
    }
}

/// The items of a list that has a least and a greatest length.
fn limited<'n, 't>(
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

fn no_twins(at: &Cursor<'_, '_>, items: &[Cursor<'_, '_>], findings: &mut Findings<'_>) {
    let mut seen = std::collections::HashSet::new();
    if !items
        .iter()
        .filter_map(|item| item.node.text())
        .all(|text| seen.insert(text))
    {
        findings.error(at, "duplicate-item", "an item occurs twice");
    }
}

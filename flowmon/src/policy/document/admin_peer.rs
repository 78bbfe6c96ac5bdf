//! Subjects and peers of the admin kinds.

use super::{
    admin::{Dialect, limited},
    metadata::check,
    network_policy::read_cidr,
    selector, syntax,
    walk::{Cursor, Fields, Findings},
};
use crate::policy::{
    Selector,
    model::{Action, Kind, Namespaces, Peer, PeerMatch, Subject},
};

/// Networks or domain names of one peer.
const MOST_NAMES: usize = 25;

/// Reads `subject`.
pub(super) fn read_subject(
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
        (Some(at), _) => (read_namespaces(&at, findings), Selector::default()),
        (None, Some(at)) => namespaced_pods(&at, dialect, findings)?,
        (None, None) => return None,
    };
    Some(Subject {
        namespaces: Namespaces::Selected(namespaces),
        pods,
    })
}

/// Reads one item of `from` or `to`.
pub(super) fn read_peer(
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
        PeerMatch::Pods {
            namespaces: Namespaces::Selected(read_namespaces(&at, findings)),
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
    if at.node.get("namespaces").is_some() {
        findings.error(at, "old-shape", OLD);
        return None;
    }
    let namespaces = if dialect.is_cluster() {
        fields.get("namespaceSelector")
    } else {
        fields.require("namespaceSelector", findings)
    };
    let pods = fields.require("podSelector", findings);
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

fn read_namespaces(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Selector {
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
        return Selector::default();
    }
    selector::read(at, findings)
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

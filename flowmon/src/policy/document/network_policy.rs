//! `NetworkPolicy` of `networking.k8s.io/v1`, validated as the API server does
//! (`pkg/apis/networking/validation`), defaults filled in (`pkg/apis/networking/v1/defaults.go`).

use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::{
    metadata::{check, short},
    selector, syntax,
    walk::{Cursor, Fields, Findings},
};
use crate::policy::{
    Selector,
    model::{
        Action, Namespaces, Peer, PeerMatch, Peers, Port, PortMatch, PortProtocol, Ports, Rule,
        Subject,
    },
};

/// What `spec` comes to.
pub(super) struct Spec {
    pub(super) subject: Subject,
    pub(super) ingress: Option<Vec<Rule>>,
    pub(super) egress: Option<Vec<Rule>>,
}

/// Reads `spec` of a policy in this namespace.
pub(super) fn read(
    object: &mut Fields<'_, '_>,
    namespace: &Arc<str>,
    findings: &mut Findings<'_>,
) -> Spec {
    let Some(spec) = object.get("spec") else {
        let says = "without `spec` it selects every pod of its namespace and lets nothing in";
        findings.warning(&object.whole, "no-spec", says);
        return Spec {
            subject: subject(namespace, Selector::default()),
            ingress: Some(Vec::new()),
            egress: None,
        };
    };
    let mut fields = spec.fields(findings);
    let pods = fields.get("podSelector");
    if pods.is_none() {
        let says = "without `podSelector` it selects every pod of its namespace; if that is meant, \
                    write `podSelector: {}`";
        findings.warning(&spec, "no-pod-selector", says);
    }
    let pods = pods.map_or_else(Selector::default, |at| selector::read(&at, findings));
    let types = fields.get("policyTypes");
    let ingress = fields.get("ingress");
    let egress = fields.get("egress");
    fields.end(findings);

    let types = types.and_then(|at| policy_types(&at, findings));
    let isolates = |which| {
        types
            .as_ref()
            .map(|types: &Vec<&str>| types.contains(&which))
    };
    let mut rules = |at: Option<Cursor<'_, '_>>,
                     peers,
                     isolates: Option<bool>,
                     is_ingress: bool| {
        let rules = at
            .as_ref()
            .map(|at| direction(at, peers, namespace, findings));
        let written = rules.as_ref().map_or(0, Vec::len);
        // Ingress unless the types say otherwise; egress if they say so, or if there are rules.
        let isolates = isolates.unwrap_or(is_ingress || written > 0);
        if isolates {
            return Some(rules.unwrap_or_default());
        }
        if let Some(at) = at.filter(|_| written > 0) {
            let says = "these rules do nothing: their direction is not in `policyTypes`";
            findings.warning(&at, "inert-rules", says);
        } else if rules.is_some() && !is_ingress && types.is_none() {
            let says = "an empty `egress` without `policyTypes` isolates nothing; to forbid all \
                        egress, add `policyTypes: [Egress]`";
            findings.warning(&spec, "empty-egress-without-type", says);
        }
        None
    };
    let ingress = rules(ingress, "from", isolates("Ingress"), true);
    let egress = rules(egress, "to", isolates("Egress"), false);
    Spec {
        subject: subject(namespace, pods),
        ingress,
        egress,
    }
}

fn subject(namespace: &Arc<str>, pods: Selector) -> Subject {
    Subject {
        namespaces: Namespaces::Named(Arc::clone(namespace)),
        pods,
    }
}

/// What is in `policyTypes`; `None` if nothing is, for then the defaults count.
fn policy_types<'n>(at: &Cursor<'n, '_>, findings: &mut Findings<'_>) -> Option<Vec<&'n str>> {
    let mut types = Vec::new();
    for item in at.list(findings) {
        match item.text(findings) {
            Some(text @ ("Ingress" | "Egress")) => types.push(text),
            Some(text) => {
                let says = format_args!("`{}`: the types are Ingress and Egress", short(text));
                findings.error(&item, "invalid-type", says);
            }
            None => {}
        }
    }
    if types.len() > 2 {
        findings.error(at, "invalid-type", "there may be two policy types at most");
    }
    (!types.is_empty()).then_some(types)
}

fn direction(
    at: &Cursor<'_, '_>,
    peers: &'static str,
    namespace: &Arc<str>,
    findings: &mut Findings<'_>,
) -> Vec<Rule> {
    let rules = at.list(findings);
    rules
        .iter()
        .map(|at| rule(at, peers, namespace, findings))
        .collect()
}

fn rule(
    at: &Cursor<'_, '_>,
    peers: &'static str,
    namespace: &Arc<str>,
    findings: &mut Findings<'_>,
) -> Rule {
    no_null(
        at,
        "a rule without content allows everything; if that is meant, write `{}`",
        findings,
    );
    let mut fields = at.fields(findings);
    let ports = fields.get("ports");
    let listed = fields.get(peers);
    fields.end(findings);

    let items = listed
        .as_ref()
        .map_or_else(Vec::new, |list| list.list(findings));
    if let Some(list) = listed.filter(|_| items.is_empty()) {
        let says = format_args!("an empty `{peers}` means everybody, as if it were not there");
        findings.warning(&list, "empty-list", says);
    }
    let found = items
        .iter()
        .filter_map(|at| peer(at, namespace, findings))
        .collect();
    Rule {
        name: None,
        action: Action::Accept,
        peers: if items.is_empty() {
            Peers::Any
        } else {
            Peers::OneOf(found)
        },
        ports: ports.map_or(Ports::All, |at| read_ports(&at, findings)),
        place: at.place(findings.file),
    }
}

fn peer(at: &Cursor<'_, '_>, namespace: &Arc<str>, findings: &mut Findings<'_>) -> Option<Peer> {
    let mut fields = at.fields(findings);
    let pods = fields.get("podSelector");
    let namespaces = fields.get("namespaceSelector");
    let block = fields.get("ipBlock");
    fields.end(findings);

    let has_selector = pods.is_some() || namespaces.is_some();
    let pods = pods.map(|at| selector::read(&at, findings));
    let namespaces = namespaces.map(|at| selector::read(&at, findings));
    let what = match block {
        Some(block) => {
            if has_selector {
                let says = "`ipBlock` may not stand beside a selector: make it an item of its own";
                findings.error(&block, "mixed-peer", says);
            }
            ip_block(&block, findings)?
        }
        None if has_selector => PeerMatch::Pods {
            namespaces: namespaces.map_or_else(
                || Namespaces::Named(Arc::clone(namespace)),
                Namespaces::Selected,
            ),
            pods: pods.unwrap_or_default(),
        },
        None => {
            let says = "a peer needs `podSelector`, `namespaceSelector` or `ipBlock`";
            findings.error(at, "empty-peer", says);
            return None;
        }
    };
    Some(Peer {
        what,
        place: at.place(findings.file),
    })
}

fn ip_block(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<PeerMatch> {
    let mut fields = at.fields(findings);
    let cidr = fields.require("cidr", findings);
    let excepts = fields.get("except");
    fields.end(findings);

    let cidr = cidr.and_then(|at| read_cidr(&at, findings));
    let mut except = Vec::new();
    for at in excepts
        .iter()
        .flat_map(|list| list.list(findings))
        .collect::<Vec<_>>()
    {
        let Some(inner) = read_cidr(&at, findings) else {
            continue;
        };
        if cidr.is_some_and(|cidr| !is_strictly_inside(inner, cidr)) {
            let says = format_args!("{inner} must be inside `cidr`, and smaller");
            findings.error(&at, "except-outside", says);
        }
        except.push(inner);
    }
    Some(PeerMatch::IpBlock {
        cidr: cidr?,
        except,
    })
}

/// A network; host bits get a warning and are masked.
pub(super) fn read_cidr(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<IpNetwork> {
    let text = at.text(findings)?;
    match syntax::cidr(text) {
        Ok((network, host_bits)) => {
            if host_bits {
                let says =
                    format_args!("{text} has bits set behind the prefix: it means {network}");
                findings.warning(at, "host-bits", says);
            }
            Some(network)
        }
        Err(complaint) => {
            check(at, Err(complaint), "invalid-network", text, findings);
            None
        }
    }
}

fn is_strictly_inside(inner: IpNetwork, outer: IpNetwork) -> bool {
    outer.contains(inner.ip()) && inner.prefix() > outer.prefix()
}

fn read_ports(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Ports {
    let items = at.list(findings);
    if items.is_empty() {
        let says = "an empty `ports` means every port, as if it were not there";
        findings.warning(at, "empty-list", says);
        return Ports::All;
    }
    Ports::OneOf(
        items
            .iter()
            .filter_map(|at| read_port(at, findings))
            .collect(),
    )
}

fn read_port(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<Port> {
    no_null(
        at,
        "a port without content means every TCP port; write `protocol: TCP`",
        findings,
    );
    let mut fields = at.fields(findings);
    let protocol = fields.get("protocol");
    let port = fields.get("port");
    let end = fields.get("endPort");
    fields.end(findings);

    let protocol = protocol.map_or(Some(PortProtocol::Tcp), |at| read_protocol(&at, findings));
    let named = port.as_ref().and_then(|port| port.node.text());
    let what = match (port, named, end) {
        (None, _, None) => PortMatch::Protocol(protocol?),
        (Some(at), Some(name), None) => {
            if !check(&at, syntax::port_name(name), "invalid-port", name, findings) {
                return None;
            }
            PortMatch::Named {
                protocol: Some(protocol?),
                name: name.into(),
            }
        }
        (Some(port), None, end) => {
            let first = read_number(&port, findings);
            let last = match &end {
                Some(end) => read_number(end, findings),
                None => first,
            };
            let (first, last) = (first?, last?);
            if let Some(end) = end.filter(|_| last < first) {
                findings.error(&end, "invalid-port", "`endPort` must not be below `port`");
            }
            PortMatch::Range {
                protocol: protocol?,
                first,
                last,
            }
        }
        (_, _, Some(end)) => {
            findings.error(
                &end,
                "invalid-port",
                "`endPort` needs a `port` that is a number",
            );
            return None;
        }
    };
    Some(Port {
        what,
        place: at.place(findings.file),
    })
}

/// A port's number.
pub(super) fn read_number(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<u16> {
    let number = at.integer(findings)?;
    syntax::port(number)
        .map_err(|complaint| {
            findings.error(at, "invalid-port", format_args!("{number}: {complaint}"));
        })
        .ok()
}

/// A protocol.
pub(super) fn read_protocol(
    at: &Cursor<'_, '_>,
    findings: &mut Findings<'_>,
) -> Option<PortProtocol> {
    let text = at.text(findings)?;
    syntax::protocol(text)
        .map_err(|complaint| {
            let says = format_args!("`{}`: {complaint}", short(text));
            findings.error(at, "invalid-protocol", says);
        })
        .ok()
}

fn no_null(at: &Cursor<'_, '_>, says: &str, findings: &mut Findings<'_>) {
    if at.node.value == super::tree::Value::Null {
        findings.warning(at, "null-item", says);
    }
}

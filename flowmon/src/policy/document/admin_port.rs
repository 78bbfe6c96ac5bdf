//! Ports of the admin kinds.

use super::{
    admin_peer::exactly_one,
    network_policy::{read_number, read_protocol},
    walk::{Cursor, Fields, Findings},
};
use crate::policy::model::{Port, PortMatch, PortProtocol};

/// One item of `protocols` (v1alpha2) or `ports` (v1alpha1).
pub(super) fn read(
    at: &Cursor<'_, '_>,
    is_cluster: bool,
    findings: &mut Findings<'_>,
) -> Option<Port> {
    let mut fields = at.fields(findings);
    exactly_one(&fields, findings);
    let what = if is_cluster {
        protocol(&mut fields, findings)
    } else {
        number_or_range(&mut fields, findings)
    };
    fields.end(findings);
    Some(Port {
        what: what?,
        place: at.place(findings.file),
    })
}

fn protocol(fields: &mut Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<PortMatch> {
    let mut found = None;
    for (name, protocol) in [
        ("tcp", PortProtocol::Tcp),
        ("udp", PortProtocol::Udp),
        ("sctp", PortProtocol::Sctp),
    ] {
        if let Some(at) = fields.get(name) {
            found = destination(&at, protocol, findings);
        }
    }
    if let Some(at) = fields.get("destinationNamedPort") {
        found = named(&at, findings);
    }
    found
}

fn destination(
    at: &Cursor<'_, '_>,
    protocol: PortProtocol,
    findings: &mut Findings<'_>,
) -> Option<PortMatch> {
    let mut fields = at.fields(findings);
    let port = fields.require("destinationPort", findings);
    fields.end(findings);
    let port = port?;
    let mut fields = port.fields(findings);
    if fields.count() != 1 {
        findings.error(
            &port,
            "not-exactly-one",
            "exactly one of `number` and `range` is needed",
        );
    }
    let number = fields.get("number");
    let range = fields.get("range");
    fields.end(findings);
    match (number, range) {
        (Some(number), _) => {
            let number = read_number(&number, findings)?;
            Some(PortMatch::Range {
                protocol,
                first: number,
                last: number,
            })
        }
        (None, Some(at)) => {
            let mut fields = at.fields(findings);
            let (first, last) = start_and_end(&at, &mut fields, findings)?;
            fields.end(findings);
            Some(PortMatch::Range {
                protocol,
                first,
                last,
            })
        }
        (None, None) => None,
    }
}

fn number_or_range(fields: &mut Fields<'_, '_>, findings: &mut Findings<'_>) -> Option<PortMatch> {
    let number = fields.get("portNumber");
    let range = fields.get("portRange");
    let name = fields.get("namedPort");
    if let Some(at) = number {
        let mut fields = at.fields(findings);
        let protocol = protocol_or_tcp(&mut fields, findings);
        let port = fields.require("port", findings);
        fields.end(findings);
        let port = read_number(&port?, findings)?;
        return Some(PortMatch::Range {
            protocol: protocol?,
            first: port,
            last: port,
        });
    }
    if let Some(at) = range {
        let mut fields = at.fields(findings);
        let protocol = protocol_or_tcp(&mut fields, findings);
        let ends = start_and_end(&at, &mut fields, findings);
        fields.end(findings);
        let (first, last) = ends?;
        return Some(PortMatch::Range {
            protocol: protocol?,
            first,
            last,
        });
    }
    named(&name?, findings)
}

/// TCP where it is not said: the definition's default.
fn protocol_or_tcp(
    fields: &mut Fields<'_, '_>,
    findings: &mut Findings<'_>,
) -> Option<PortProtocol> {
    match fields.get("protocol") {
        Some(at) => read_protocol(&at, findings),
        None => Some(PortProtocol::Tcp),
    }
}

fn start_and_end(
    at: &Cursor<'_, '_>,
    fields: &mut Fields<'_, '_>,
    findings: &mut Findings<'_>,
) -> Option<(u16, u16)> {
    let start = fields.require("start", findings);
    let end = fields.require("end", findings);
    let first = read_number(&start?, findings);
    let last = read_number(&end?, findings);
    let (first, last) = (first?, last?);
    if first >= last {
        findings.error(at, "invalid-port", "`start` must be below `end`");
    }
    Some((first, last))
}

fn named(at: &Cursor<'_, '_>, findings: &mut Findings<'_>) -> Option<PortMatch> {
    let name = at.text(findings)?;
    if name.is_empty() {
        findings.error(at, "invalid-port", "the port's name is empty");
        return None;
    }
    Some(PortMatch::Named {
        protocol: None,
        name: name.into(),
    })
}

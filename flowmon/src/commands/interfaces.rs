//! `flowmon interfaces`

use serde::Serialize;

use super::{Exit, Failure, print, runtime};
use crate::{
    cli::ListOutput,
    model::{EndpointKind, Interface, Peer},
    netlink,
    selection::{self, Pattern},
    sinks::escaped,
};

/// A line of the list.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: &'a str,
    ifindex: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    master: Option<&'a str>,
    up: bool,
    kind: EndpointKind,
    /// How the kind is known.
    evidence: String,
    /// By `--iface all`.
    watched: bool,
}

pub(super) fn run(output: ListOutput) -> Result<Exit, Failure> {
    let interfaces = runtime()?.block_on(netlink::list())?;
    let lines = lines(&interfaces);
    let mut text = String::new();
    match output {
        ListOutput::Json => {
            for line in lines {
                let json = serde_json::to_string(&line);
                text += &json.map_err(|error| Failure::new(Exit::Usage, error))?;
                text.push('\n');
            }
        }
        ListOutput::Table => {
            text += &row([
                "NAME",
                "INDEX",
                "LINK",
                "MASTER",
                "STATE",
                "ENDPOINT",
                "ALL",
                "HOW WE KNOW",
            ]);
            for line in lines {
                text += &row([
                    &escaped(line.name),
                    &line.ifindex.to_string(),
                    line.link.unwrap_or("-"),
                    &line.master.map_or("-".into(), escaped),
                    if line.up { "up" } else { "down" },
                    line.kind.label(),
                    if line.watched { "yes" } else { "no" },
                    &line.evidence,
                ]);
            }
        }
    }
    print(&text)?;
    Ok(Exit::Done)
}

fn row([name, index, link, master, state, endpoint, all, evidence]: [&str; 8]) -> String {
    format!(
        "{name:<15} {index:>5}  {link:<9} {master:<15} {state:<5} {endpoint:<8} {all:<3}  {evidence}\n"
    )
}

fn lines(interfaces: &[Interface]) -> Vec<Line<'_>> {
    let watched = selection::select(&[Pattern::All], interfaces.iter());
    interfaces
        .iter()
        .map(|interface| Line {
            name: &interface.name,
            ifindex: interface.ifindex,
            link: interface.kind.as_deref(),
            master: interface.master.and_then(|master| {
                let master = interfaces.iter().find(|other| other.ifindex == master)?;
                Some(master.name.as_str())
            }),
            up: interface.up,
            kind: if interface.leads_to_endpoint() {
                EndpointKind::Unknown
            } else {
                EndpointKind::Host
            },
            evidence: evidence(interface),
            watched: watched.contains(&interface.ifindex),
        })
        .collect()
}

fn evidence(interface: &Interface) -> String {
    match (interface.kind.as_deref(), interface.peer) {
        (Some("bridge"), _) => "a bridge: watched through its ports".to_owned(),
        (
            Some("veth"),
            Some(Peer {
                ifindex,
                netnsid: Some(id),
            }),
        ) => {
            format!("other end is interface {ifindex} of network namespace {id}")
        }
        (
            Some("veth"),
            Some(Peer {
                ifindex,
                netnsid: None,
            }),
        ) => {
            format!("other end is interface {ifindex} of this namespace")
        }
        (Some("tun"), _) if interface.leads_to_endpoint() => {
            "a tap: a virtual machine's".to_owned()
        }
        _ if interface.leads_to_endpoint() => "the host's end of an attachment".to_owned(),
        _ => "this host's own".to_owned(),
    }
}

//! `flowmon interfaces`

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Serialize;

use super::{Exit, Failure, print, runtime};
use crate::{
    cli::ListOutput,
    clock::Clock,
    identity::Trouble,
    model::{EndpointKind, Identity, IdentitySource, Interface, Peer},
    netlink,
    pipeline::{self, Survey},
    selection::{self, Pattern},
    settings::Places,
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
    /// Who is behind it, as in flow records.
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'a Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    addresses: &'a [IpAddr],
    /// Since when it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip)]
    began: Option<Timestamp>,
    /// How the kind is known.
    evidence: String,
    /// By `--iface all`.
    watched: bool,
}

pub(super) fn run(output: ListOutput, places: &Places) -> Result<Exit, Failure> {
    let now = Clock::new().now();
    let survey = async {
        let interfaces = netlink::list().await?;
        let survey = pipeline::survey(places, &interfaces, &now).await;
        Ok::<_, netlink::Error>((interfaces, survey))
    };
    let (interfaces, survey) = runtime()?.block_on(survey)?;
    for (source, state) in &survey.sources {
        if let Err(Trouble::Broken(why)) = state {
            tracing::warn!("{}: {}", source.label(), escaped(why));
        }
    }
    let lines = lines(&interfaces, &survey);
    let mut all = String::new();
    match output {
        ListOutput::Json => {
            for line in lines {
                let json = serde_json::to_string(&line);
                all += &json.map_err(|error| Failure::new(Exit::Usage, error))?;
                all.push('\n');
            }
        }
        ListOutput::Table => {
            all += &row([
                "NAME",
                "INDEX",
                "LINK",
                "MASTER",
                "STATE",
                "ALL",
                "ENDPOINT",
                "RUNTIME",
                "ADDRESSES",
                "SOURCE",
                "AGE",
                "HOW WE KNOW",
            ]);
            for line in lines {
                all += &line.row(now.wall);
            }
        }
    }
    print(&all)?;
    Ok(Exit::Done)
}

impl Line<'_> {
    fn row(&self, now: Timestamp) -> String {
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        let source = self.endpoint.and_then(|endpoint| endpoint.source);
        row([
            &escaped(self.name),
            &self.ifindex.to_string(),
            self.link.unwrap_or("-"),
            &self.master.map_or("-".into(), escaped),
            if self.up { "up" } else { "down" },
            if self.watched { "yes" } else { "no" },
            &endpoint(self.kind, self.endpoint),
            self.runtime.unwrap_or("-"),
            if addresses.is_empty() {
                "-".to_owned()
            } else {
                addresses.join(",")
            }
            .as_str(),
            source.map_or("-", IdentitySource::label),
            &self.began.map_or("-".to_owned(), |since| age(since, now)),
            &self.evidence,
        ])
    }
}

fn row(
    [
        name,
        index,
        link,
        master,
        state,
        all,
        endpoint,
        runtime,
        addresses,
        source,
        age,
        evidence,
    ]: [&str; 12],
) -> String {
    format!(
        "{name:<15} {index:>5}  {link:<9} {master:<15} {state:<5} {all:<3}  {endpoint:<28} \
         {runtime:<10} {addresses:<20} {source:<9} {age:<4}  {evidence}\n"
    )
}

/// Kind, namespace and name.
fn endpoint(kind: EndpointKind, identity: Option<&Identity>) -> String {
    let name = identity.and_then(|identity| {
        let name = identity.name.as_deref().or_else(|| {
            let id = identity.container_id.as_deref()?;
            Some(id.get(..12).unwrap_or(id))
        })?;
        let namespace = identity.namespace.as_deref();
        Some(namespace.map_or_else(
            || format!(" {name}"),
            |namespace| format!(" {namespace}/{name}"),
        ))
    });
    kind.label().to_owned() + &name.unwrap_or_default()
}

/// In the largest unit: `3d`, `2h`, `5m`, `10s`.
fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn lines<'a>(interfaces: &'a [Interface], survey: &'a Survey) -> Vec<Line<'a>> {
    let watched = selection::select(&[Pattern::All], interfaces.iter());
    interfaces
        .iter()
        .map(|interface| {
            let behind = survey.attachments.get(&interface.ifindex);
            let endpoint = behind.map(|behind| &*behind.identity);
            Line {
                name: &interface.name,
                ifindex: interface.ifindex,
                link: interface.kind.as_deref(),
                master: interface.master.and_then(|master| {
                    let master = interfaces.iter().find(|other| other.ifindex == master)?;
                    Some(master.name.as_str())
                }),
                up: interface.up,
                kind: match endpoint {
                    Some(endpoint) => endpoint.kind,
                    None => EndpointKind::Host,
                },
                endpoint: endpoint.filter(|endpoint| endpoint.kind != EndpointKind::Unknown),
                runtime: behind.and_then(|behind| behind.runtime.as_deref()),
                addresses: behind.map_or(&[], |behind| &behind.addresses),
                since: behind
                    .and_then(|behind| behind.since)
                    .map(|since| format!("{since:.0}")),
                began: behind.and_then(|behind| behind.since),
                evidence: evidence(interface),
                watched: watched.contains(&interface.ifindex),
            }
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

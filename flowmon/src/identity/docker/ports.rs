//! Ports of containers, as policies know them by name.
//!
//! Docker's have none, so they are called after what is known of them: `tcp-80` is one that the
//! container exposes, `published-8080` the one behind port 8080 of the host.

use flowmon_common::wire::protocol;
use serde::Deserialize;

use crate::model::NamedPort;

/// Names of one container's ports: whole ranges may be published.
const MOST: usize = 1024;

/// A port in the list of containers.
#[derive(Debug, Deserialize)]
pub(super) struct Port {
    #[serde(default, rename = "PrivatePort")]
    private: u16,
    #[serde(default, rename = "PublicPort")]
    public: Option<u16>,
    #[serde(default, rename = "Type")]
    protocol: String,
}

/// By name, each once.
pub(super) fn named(ports: &[Port]) -> Vec<NamedPort> {
    let mut all: Vec<NamedPort> = ports.iter().flat_map(names).take(MOST).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn names(port: &Port) -> impl Iterator<Item = NamedPort> {
    let number = match &*port.protocol {
        "tcp" => Some(protocol::TCP),
        "udp" => Some(protocol::UDP),
        "sctp" => Some(protocol::SCTP),
        _ => None,
    };
    let exposed = format!("{}-{}", port.protocol, port.private);
    let published = port.public.filter(|public| *public > 0);
    let published = published.map(|public| format!("published-{public}"));
    let names = std::iter::once(exposed).chain(published);
    let at = number.filter(|_| port.private > 0).into_iter();
    let port = port.private;
    at.flat_map(move |protocol| {
        names.clone().map(move |name| NamedPort {
            name: name.into(),
            protocol,
            port,
        })
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn exposed_and_published_ports_have_names() {
        // `-p 8080:80 --expose 53/udp -p 127.0.0.1:9000:80`, as Docker 20.10.24 lists it.
        let listed = r#"[
            {"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
            {"IP":"::","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
            {"IP":"127.0.0.1","PrivatePort":80,"PublicPort":9000,"Type":"tcp"},
            {"PrivatePort":53,"Type":"udp"},{"PrivatePort":7,"Type":"odd"},{"Type":"tcp"}
        ]"#;
        let ports: Vec<Port> = serde_json::from_str(listed).unwrap();
        let named = named(&ports);
        let said: Vec<_> = named
            .iter()
            .map(|it| (&*it.name, it.protocol, it.port))
            .collect();
        let expected = [
            ("published-8080", 6, 80),
            ("published-9000", 6, 80),
            ("tcp-80", 6, 80),
            ("udp-53", 17, 53),
        ];
        assert_eq!(said, expected);
    }
}

//! Which interfaces to watch, by what the user typed. Pure: asked again at every change.

use std::{collections::BTreeSet, str::FromStr};

use globset::{Glob, GlobMatcher};

use crate::model::Interface;

/// One `--iface`.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Every interface with a container, pod or virtual machine behind it.
    All,
    /// The interface of this name; a bridge stands for its ports.
    Name(String),
    /// All whose names match; bridges among them stand for their ports.
    Glob(GlobMatcher),
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("an interface name can't be empty".to_owned());
        }
        if text == "all" {
            return Ok(Self::All);
        }
        if !text.contains(['*', '?', '[', '{']) {
            return Ok(Self::Name(text.to_owned()));
        }
        Glob::new(text)
            .map(|glob| Self::Glob(glob.compile_matcher()))
            .map_err(|error| error.kind().to_string())
    }
}

impl Pattern {
    fn names(&self, interface: &Interface) -> bool {
        match self {
            Self::All => interface.leads_to_endpoint(),
            Self::Name(name) => *name == interface.name,
            Self::Glob(glob) => glob.is_match(&interface.name),
        }
    }
}

/// The interfaces to watch, by index.
pub fn select<'a>(
    patterns: &[Pattern],
    interfaces: impl Iterator<Item = &'a Interface> + Clone,
) -> BTreeSet<u32> {
    let named = |interface: &Interface| patterns.iter().any(|pattern| pattern.names(interface));
    let bridges: BTreeSet<u32> = interfaces
        .clone()
        .filter(|interface| interface.is_bridge() && named(interface))
        .map(|bridge| bridge.ifindex)
        .collect();
    interfaces
        .filter(|interface| !interface.is_bridge())
        .filter(|interface| {
            named(interface)
                || interface
                    .master
                    .is_some_and(|master| bridges.contains(&master))
        })
        .map(|interface| interface.ifindex)
        .collect()
}

/// The names that no interface has.
pub fn missing<'a>(patterns: &'a [Pattern], interfaces: &[Interface]) -> Vec<&'a str> {
    patterns
        .iter()
        .filter_map(|pattern| match pattern {
            Pattern::Name(name) => Some(name.as_str()),
            Pattern::All | Pattern::Glob(_) => None,
        })
        .filter(|name| interfaces.iter().all(|interface| interface.name != *name))
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;
    use crate::model::{InterfaceCounters, LinkLayer};

    fn interface(ifindex: u32, name: &str, kind: Option<&str>, master: Option<u32>) -> Interface {
        Interface {
            ifindex,
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            master,
            link_layer: LinkLayer::Ethernet,
            up: true,
            peer: None,
            counters: InterfaceCounters::default(),
        }
    }

    fn host() -> Vec<Interface> {
        vec![
            interface(1, "lo", None, None),
            interface(2, "eth0", None, None),
            interface(3, "cni0", Some("bridge"), None),
            interface(4, "veth1", Some("veth"), Some(3)),
            interface(5, "veth2", Some("veth"), Some(3)),
            interface(6, "cali1", Some("veth"), None),
            interface(7, "docker0", Some("bridge"), None),
            interface(8, "eth1", None, Some(7)),
        ]
    }

    fn selected(patterns: &[&str]) -> Vec<u32> {
        let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
        select(&patterns, host().iter()).into_iter().collect()
    }

    #[test]
    fn a_bridge_stands_for_its_ports() {
        assert_eq!(selected(&["cni0"]), [4, 5]);
        assert_eq!(selected(&["docker0"]), [8]);
    }

    #[test]
    fn names_and_globs_add_up() {
        assert_eq!(selected(&["eth0", "veth2"]), [2, 5]);
        assert_eq!(selected(&["veth*"]), [4, 5]);
        assert_eq!(selected(&["cni*", "cali*"]), [4, 5, 6]);
        assert!(selected(&["nothing*"]).is_empty());
    }

    #[test]
    fn all_means_everything_with_an_endpoint_behind_it() {
        assert_eq!(selected(&["all"]), [4, 5, 6]);
    }

    #[test]
    fn only_literal_names_can_be_missing() {
        let patterns = ["eth9", "eth0", "x*", "all"].map(|text| text.parse().unwrap());
        assert_eq!(missing(&patterns, &host()), ["eth9"]);
    }

    #[test]
    fn a_broken_glob_is_refused() {
        assert!(Pattern::from_str("veth[").is_err());
        assert!(Pattern::from_str("").is_err());
    }
}

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

use flowmon_common::{Address, FlowKey, FlowStats, Initiator, Traffic};

use super::*;
use crate::policy::{document, inventory::Pod};

const COMES: u8 = 5;
const SERVES: u8 = 9;

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// From a client's port to port 80, at the server.
fn flow(client: u16, packets: u64) -> model::Flow {
    let word = |last| Address::from(std::net::Ipv4Addr::from([10, 0, 0, last]).to_ipv6_mapped());
    let mut stats = FlowStats {
        initiator: Initiator::Remote as u8,
        ..FlowStats::default()
    };
    stats.rx.traffic = Traffic {
        packets,
        bytes: packets * 100,
    };
    model::Flow {
        key: FlowKey {
            ifindex: 7,
            local: word(SERVES),
            remote: word(COMES),
            local_port: 80,
            remote_port: client,
            protocol: 6,
            l3: 4,
            vlan: 0,
        },
        stats,
        last_ns: 0,
    }
}

fn id(name: &str) -> PodId {
    PodId {
        namespace: "default".into(),
        name: name.into(),
    }
}

fn pod(app: &str, last: u8) -> Pod {
    Pod {
        labels: [("app".into(), app.into())].into(),
        addresses: vec![address(last)],
        ..Pod::default()
    }
}

/// Only pods of `app` may come to the server.
fn basis(app: &str) -> Basis {
    let policy = format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: default}}\n\
         spec: {{podSelector: {{}}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {app}}}}}}}]}}]}}"
    );
    let mut reader = document::Reader::default();
    reader.file(&"policy.yaml".into(), &policy);
    let mut inventory = Inventory::default();
    inventory.pods.insert(id("server"), pod("server", SERVES));
    inventory.pods.insert(id("client"), pod("client", COMES));
    Basis::new(&reader.finish().set, inventory, Settings::default())
}

struct World {
    live: Live,
    endpoint: Endpoint,
    remote: Identity,
}

impl World {
    fn new(basis: Option<Basis>) -> Self {
        Self {
            live: Live::new(basis),
            endpoint: Endpoint {
                interface: "veth0".to_owned(),
                ifindex: 7,
                identity: Arc::new(Identity::nameless(EndpointKind::Unknown)),
            },
            remote: Identity::nameless(EndpointKind::Unknown),
        }
    }

    /// Outcome and reason, and whether they are others than before.
    fn note(&mut self, flow: &model::Flow, ended: bool) -> (Outcome, &'static str, bool) {
        let observed = Observed {
            flow,
            endpoint: &self.endpoint,
            remote: Some(&self.remote),
        };
        let word = self.live.note(&observed, ended);
        let verdict = word.verdict.unwrap();
        (verdict.outcome, verdict.reason, word.is_other)
    }

    fn counts(&self) -> (u64, u64, u64) {
        let audited = self.live.audited();
        (audited.allowed, audited.violations, audited.undecided)
    }
}

#[test]
fn a_flow_counts_once_with_its_latest_verdict() {
    let mut world = World::new(None);
    let undecided = (Outcome::Undecided, "unknown-policies", false);
    assert_eq!(world.note(&flow(1, 1), false), undecided);
    assert_eq!(world.note(&flow(2, 1), true), undecided, "and is over");
    assert_eq!(world.counts(), (0, 0, 2));

    assert!(
        world
            .live
            .amend(Amendment::Whole(Box::new(basis("client"))))
    );
    let (outcome, _, is_other) = world.note(&flow(1, 4), false);
    assert_eq!((outcome, is_other), (Outcome::Allowed, true));
    let (_, _, is_other) = world.note(&flow(1, 5), false);
    assert!(!is_other);
    assert_eq!(world.counts(), (1, 0, 1));

    // It loses its label, and has it again.
    for (app, expected) in [("other", Outcome::Denied), ("client", Outcome::Allowed)] {
        assert!(
            world
                .live
                .amend(Amendment::Pod(id("client"), Some(pod(app, COMES))))
        );
        let (outcome, _, is_other) = world.note(&flow(1, 6), false);
        assert_eq!((outcome, is_other), (expected, true));
    }
    assert!(!world.live.amend(Amendment::Refused));
    let policy = basis("nobody");
    assert!(world.live.amend(Amendment::Whole(Box::new(policy))));
    assert_eq!(
        world.note(&flow(1, 7), true),
        (Outcome::Denied, "no-rule-matched", true)
    );
    assert_eq!(world.counts(), (0, 1, 1));
    let audited = world.live.audited();
    assert_eq!(audited.policy_reload_failures, 1);
    let [group] = audited.violation_groups.as_slice() else {
        panic!("{audited:?}");
    };
    assert_eq!((group.flows, group.packets, group.bytes), (1, 7, 700));
    let ends = [&group.endpoint, &group.peer].map(|end| end.as_ref().unwrap().to_string());
    assert_eq!(ends, ["default/server", "default/client"]);
    assert_eq!(group.port, Some(80));
}

/// Two may have had an address, one after the other, and what each of them did is judged by who it was.
#[test]
fn the_same_address_may_be_two() {
    let mut world = World::new(Some(basis("client")));
    let named = |name: &str| Identity {
        namespace: Some("default".into()),
        name: Some(name.into()),
        ..Identity::nameless(EndpointKind::Pod)
    };
    let other = Some(pod("other", 77));
    world.live.amend(Amendment::Pod(id("other"), other));
    let (client, other) = (named("client"), named("other"));
    for (remote, expected) in [
        (&client, Outcome::Allowed),
        (&other, Outcome::Denied),
        (&client, Outcome::Allowed),
    ] {
        let observed = Observed {
            flow: &flow(1, 1),
            endpoint: &world.endpoint,
            remote: Some(remote),
        };
        let verdict = world.live.note(&observed, false).verdict.unwrap();
        assert_eq!(verdict.outcome, expected);
    }
}

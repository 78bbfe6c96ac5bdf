//! The promise: what was seen is allowed, every rule is needed, and nothing else is allowed.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use flowmon::{
    audit::Flow,
    model::Direction,
    policy::{
        Connection, Inventory, Outcome, PolicySet, Ruleset, Settings, Verdict,
        inventory::{Service, ServicePort, TargetPort},
        model::{Action, PortProtocol, Rule},
        verdict::End,
    },
    suggest::Format,
};
use proptest::{collection::vec, prelude::*};

use crate::world::{cluster, flow, id, ip, merged, named, pod, policies, suggestion, written};

const NAMESPACES: [&str; 2] = ["shop", "stock"];
/// Some select others too, if nothing is done about it; none is the same as another.
const LABELS: [&str; 7] = [
    "",
    "app=a",
    "app=a,tier=x",
    "app=a,tier=y",
    "app=b",
    "tier=x",
    "app=b,pod-template-hash=5c689d88bb",
];
/// Of a number that no pod listens at and no flow asks.
const UNSEEN: u16 = 7777;
const OUTSIDE: [&str; 9] = [
    "203.0.113.1",
    "203.0.113.2",
    "203.0.113.5",
    "203.0.113.6",
    "203.0.113.200",
    "198.51.100.1",
    "2001:db8::1",
    "2001:db8::2",
    "192.168.7.1", // the node
];
const FAR: &str = "192.0.2.77";

/// Several pods that are the same.
#[derive(Debug, Clone)]
struct Things {
    namespace: usize,
    labels: usize,
    replicas: usize,
    owned: bool,
    /// They call a port `http`; each has another number for it, or all the same.
    http: Option<bool>,
}

/// Who speaks to whom: numbers are taken round.
#[derive(Debug, Clone)]
struct Spoken {
    from: usize,
    to: usize,
    port: usize,
    protocol: usize,
    /// Seen where it begins, where it ends, or at both.
    seen: usize,
}

/// Somebody at an end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Somebody {
    /// A pod, with the number of what it belongs to.
    Pod(usize, IpAddr),
    Outside(IpAddr),
}

impl Somebody {
    fn address(&self) -> IpAddr {
        match self {
            Self::Pod(_, address) | Self::Outside(address) => *address,
        }
    }

    fn thing(&self) -> Option<usize> {
        match self {
            Self::Pod(thing, _) => Some(*thing),
            Self::Outside(_) => None,
        }
    }

    /// What rules know of it.
    fn peer(&self) -> Result<usize, IpAddr> {
        self.thing().ok_or_else(|| self.address())
    }
}

struct World {
    inventory: Inventory,
    things: Vec<Things>,
    everybody: Vec<Somebody>,
}

fn world(mut things: Vec<Things>) -> World {
    let mut known = BTreeSet::new();
    // The last of the labels passes: without it there would be two of the same.
    things.retain(|it| {
        known.insert((
            it.namespace,
            it.labels.min(5).min(if it.labels == 6 { 4 } else { 9 }),
        ))
    });
    let mut inventory = cluster();
    let mut everybody = Vec::new();
    for (number, thing) in things.iter().enumerate() {
        let namespace = NAMESPACES[thing.namespace];
        let owner = if thing.owned {
            format!("Deployment/thing-{number}")
        } else {
            String::new()
        };
        for replica in 0..thing.replicas {
            let name = format!("{namespace}/pod-{number}-{replica}");
            let address = format!("10.1.{number}.{replica}");
            pod(
                &mut inventory,
                &name,
                &address,
                LABELS[thing.labels],
                &owner,
            );
            if let Some(differs) = thing.http {
                let port = http(differs, replica);
                let name = id(namespace, &format!("pod-{number}-{replica}"));
                let pod = inventory.pods.get_mut(&name).unwrap();
                pod.ports.push(named("http", port));
            }
            everybody.push(Somebody::Pod(number, ip(&address)));
        }
        // A service for it, by the labels of its first pod: it may have others' pods as well.
        let selector = inventory.pods[&id(namespace, &format!("pod-{number}-0"))]
            .labels
            .clone();
        let service = Service {
            addresses: vec![ip(&format!("10.96.0.{number}"))],
            ports: vec![ServicePort {
                name: "".into(),
                protocol: PortProtocol::Tcp,
                port: 80,
                target: TargetPort::Number(8000),
                node_port: None,
            }],
            selector: (!selector.is_empty()).then_some(selector),
            endpoints: None,
        };
        inventory
            .services
            .insert(id(namespace, &format!("service-{number}")), service);
    }
    everybody.extend(OUTSIDE.iter().map(|address| Somebody::Outside(ip(address))));
    World {
        inventory,
        things,
        everybody,
    }
}

fn http(differs: bool, replica: usize) -> u16 {
    if differs {
        8081 + u16::try_from(replica).unwrap()
    } else {
        8081
    }
}

/// A connection that was opened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Opened {
    from: Somebody,
    to: Somebody,
    protocol: u8,
    port: u16,
}

/// The number of a pod among those that are the same.
fn replica(address: IpAddr) -> usize {
    let IpAddr::V4(address) = address else {
        unreachable!()
    };
    usize::from(address.octets()[3])
}

impl World {
    /// Do its pods have different numbers for one name?
    fn has_numbers(&self, thing: usize) -> bool {
        let thing = &self.things[thing];
        thing.http == Some(true) && thing.replicas > 1
    }

    fn opened(&self, spoken: &Spoken) -> Opened {
        let somebody = |number: usize| self.everybody[number % self.everybody.len()].clone();
        let to = somebody(spoken.to);
        let (mut protocol, mut port) = (
            [6, 17, 132][spoken.protocol],
            [53, 443, 9000][spoken.port % 3],
        );
        if let Somebody::Pod(thing, address) = &to
            && let Some(differs) = self.things[*thing].http
            && spoken.port == 3
        {
            (protocol, port) = (6, http(differs, replica(*address)));
        }
        Opened {
            from: somebody(spoken.from),
            to,
            protocol,
            port,
        }
    }

    /// As it is seen at its ends.
    fn flows(&self, spoken: &Spoken) -> Vec<Flow> {
        let Opened {
            from,
            to,
            protocol,
            port,
        } = self.opened(spoken);
        let (initiator, responder) = ((from.address(), 40_000), (to.address(), port));
        let mut flows = Vec::new();
        if from.thing().is_some() && spoken.seen != 1 {
            flows.push(flow(Direction::Egress, protocol, initiator, responder));
        }
        if to.thing().is_some() && spoken.seen != 0 {
            flows.push(flow(Direction::Ingress, protocol, responder, initiator));
        }
        flows
    }

    /// By which service something is spoken to, if it has one.
    fn to_service(&self, spoken: &Spoken) -> Option<Flow> {
        let Somebody::Pod(_, from) = &self.everybody[spoken.from % self.everybody.len()] else {
            return None;
        };
        let (thing, it) = self
            .things
            .iter()
            .enumerate()
            .nth(spoken.to % self.things.len())?;
        let service = id(NAMESPACES[it.namespace], &format!("service-{thing}"));
        self.inventory.services[&service].selector.as_ref()?;
        let to = ip(&format!("10.96.0.{thing}"));
        Some(flow(Direction::Egress, 6, (*from, 40_000), (to, 80)))
    }

    fn judge(&self, policies: &PolicySet, connection: &Connection) -> Vec<Verdict> {
        let ruleset = Ruleset::compile(policies, &self.inventory, Settings::default());
        let verdicts = ruleset.judge(connection);
        [verdicts.egress, verdicts.ingress]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Flows that these don't allow, one of both sides.
    fn violations<'a>(&self, policies: &PolicySet, flows: &'a [Flow]) -> Vec<&'a Flow> {
        let is_open = |flow: &&Flow| {
            let connection = flow.connection(flow.direction).unwrap();
            let verdicts = self.judge(policies, &connection);
            verdicts.iter().any(|it| it.outcome != Outcome::Allowed)
        };
        flows.iter().filter(is_open).collect()
    }
}

/// Each without one of its rules that let something through.
fn less(policies: &PolicySet) -> Vec<(String, PolicySet)> {
    let mut all = Vec::new();
    for (number, policy) in policies.policies.iter().enumerate() {
        let mut add = |what: String, change: &dyn Fn(&mut flowmon::policy::Policy)| {
            let mut changed = policies.clone();
            let mut policy = (**policy).clone();
            change(&mut policy);
            changed.policies[number] = Arc::new(policy);
            all.push((format!("{} {what}", policy_name(&changed, number)), changed));
        };
        for rule in accepting(policy.ingress.as_ref()) {
            add(format!("ingress[{rule}]"), &|policy| {
                policy.ingress.as_mut().unwrap().remove(rule);
            });
        }
        for rule in accepting(policy.egress.as_ref()) {
            add(format!("egress[{rule}]"), &|policy| {
                policy.egress.as_mut().unwrap().remove(rule);
            });
        }
    }
    all
}

fn accepting(rules: Option<&Vec<Rule>>) -> Vec<usize> {
    let rules = rules.into_iter().flatten().enumerate();
    let accepting = rules.filter(|(_, rule)| rule.action == Action::Accept);
    accepting.map(|(number, _)| number).collect()
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::NetworkPolicy),
        Just(Format::ClusterNetworkPolicy)
    ]
}

fn policy_name(policies: &PolicySet, number: usize) -> String {
    policies.policies[number].id.to_string()
}

fn things() -> impl Strategy<Value = Vec<Things>> {
    let thing = (
        0..2_usize,
        0..LABELS.len(),
        1..4_usize,
        any::<bool>(),
        any::<Option<bool>>(),
    );
    let thing = thing.prop_map(|(namespace, labels, replicas, owned, http)| Things {
        namespace,
        labels,
        replicas,
        owned,
        http,
    });
    vec(thing, 1..7)
}

fn spoken(most: usize) -> impl Strategy<Value = Vec<Spoken>> {
    let one = (0..64_usize, 0..64_usize, 0..4_usize, 0..3_usize, 0..3_usize);
    let one = one.prop_map(|(from, to, port, protocol, seen)| Spoken {
        from,
        to,
        port,
        protocol,
        seen,
    });
    vec(one, 0..most)
}

fn end(address: IpAddr) -> End {
    End { address, pod: None }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_seen_is_allowed_and_every_rule_is_needed(
        things in things(), direct in spoken(20), by_service in spoken(4), format in format(),
    ) {
        let world = world(things);
        let mut flows: Vec<Flow> = direct.iter().flat_map(|it| world.flows(it)).collect();
        flows.extend(by_service.iter().filter_map(|it| world.to_service(it)));
        let suggestion = written(&flows, &world.inventory, format);
        prop_assert_eq!(suggestion.open, 0, "{}", suggestion.yaml);
        let policies = policies(&suggestion.yaml);
        prop_assert_eq!(policies.policies.len(), suggestion.policies);
        let violations = world.violations(&policies, &flows);
        prop_assert!(violations.is_empty(), "{violations:?}\n{}", suggestion.yaml);
        for (what, less) in less(&policies) {
            let violations = world.violations(&less, &flows);
            prop_assert!(!violations.is_empty(), "{what} is not needed\n{}", suggestion.yaml);
        }
    }

    #[test]
    fn what_was_not_seen_is_denied(
        things in things(), spoken in spoken(20), format in format(),
    ) {
        let world = world(things);
        let flows: Vec<Flow> = spoken.iter().flat_map(|it| world.flows(it)).collect();
        let suggestion = written(&flows, &world.inventory, format);
        let policies = policies(&suggestion.yaml);
        let ruleset = Ruleset::compile(&policies, &world.inventory, Settings::default());

        let is_seen = |spoken: &&Spoken| !world.flows(spoken).is_empty();
        let mut seen: Vec<Opened> =
            spoken.iter().filter(is_seen).map(|it| world.opened(it)).collect();
        // Who speaks to itself needs nothing for that.
        seen.retain(|it| it.from != it.to);
        let watched: BTreeSet<usize> = flows.iter().map(|flow| {
            let local = flow.local.as_ref().unwrap().address;
            let mut everybody = world.everybody.iter();
            everybody.find(|it| it.address() == local).unwrap().thing().unwrap()
        }).collect();
        // Networks are put together of those outside only, and none is so large.
        let far = Somebody::Outside(ip(FAR));
        let node = ip("192.168.7.1");
        let exact: BTreeSet<IpAddr> = world.everybody.iter().map(Somebody::address)
            .filter(|it| !it.to_string().starts_with("203.0.113.")).collect();
        let everybody = || world.everybody.iter().chain([&far]);
        for (from, to) in everybody().flat_map(|from| everybody().map(move |to| (from, to))) {
            for (protocol, port) in [(6, 443), (6, 9000), (17, 53), (6, 8081), (6, 8082), (6, UNSEEN)] {
                let connection = Connection {
                    initiator: end(from.address()),
                    responder: end(to.address()),
                    protocol,
                    port: Some(port),
                };
                let verdicts = ruleset.judge(&connection);
                let is_same = |it: &Opened| it.protocol == protocol && match to {
                    // By its name a port is asked at each pod's own number.
                    Somebody::Pod(thing, address)
                        if world.has_numbers(*thing) && it.port >= 8081 && it.port < 8090 =>
                    {
                        port == http(true, replica(*address))
                    }
                    _ => it.port == port,
                };
                let of = |it: &Opened| is_same(it) && it.from.peer() == from.peer()
                    && it.to.peer() == to.peer();
                let was_seen = seen.iter().any(of) || from.address() == to.address();
                let sides = [
                    (from, to, verdicts.egress, false), (to, from, verdicts.ingress, true),
                ];
                for (subject, peer, verdict, is_ingress) in sides {
                    let Some(thing) = subject.thing().filter(|it| watched.contains(it)) else {
                        continue;
                    };
                    if peer.address() == node || !(exact.contains(&peer.address()) || *peer == far) {
                        continue;
                    }
                    // Ingress from others than pods is nothing that cluster network policies can deny.
                    let is_open = format == Format::ClusterNetworkPolicy
                        && is_ingress && peer.thing().is_none();
                    let expected = if was_seen || is_open { Outcome::Allowed } else { Outcome::Denied };
                    prop_assert_eq!(verdict.unwrap().outcome, expected,
                        "{:?} {:?} -> {:?} {} {}\n{}", thing, from, to, protocol, port, suggestion.yaml);
                }
            }
        }
    }

    #[test]
    fn merged_with_itself_nothing_is_missing_and_with_a_part_the_rest(
        things in things(), spoken in spoken(12), part in any::<usize>(),
    ) {
        let world = world(things);
        let flows: Vec<Flow> = spoken.iter().flat_map(|it| world.flows(it)).collect();
        let whole = suggestion(&flows, &world.inventory);
        prop_assert_eq!(merged(&flows, &world.inventory, &whole.yaml).policies, 0);
        let documents: Vec<&str> = whole.yaml.split("---\n").collect();
        let part = documents[..part % (documents.len() + 1)].join("---\n");
        let rest = merged(&flows, &world.inventory, &part);
        let both = policies(&format!("{part}---\n{}", rest.yaml));
        prop_assert_eq!(both.policies.len(), whole.policies);
        let violations = world.violations(&both, &flows);
        prop_assert!(violations.is_empty(), "{violations:?}\n{}\n+\n{}", part, rest.yaml);
    }

    #[test]
    fn the_order_of_flows_does_not_matter(things in things(), spoken in spoken(12)) {
        let world = world(things);
        let mut flows: Vec<Flow> = spoken.iter().flat_map(|it| world.flows(it)).collect();
        let one = suggestion(&flows, &world.inventory);
        flows.reverse();
        prop_assert_eq!(one, suggestion(&flows, &world.inventory));
    }
}

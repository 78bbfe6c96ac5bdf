#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::*;

use super::*;
use crate::{
    model::IdentitySource,
    policy::{Connection, Settings, Verdicts, document, verdict::End},
};

/// Two tiers of labels, both ways, in both namespaces.
const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: a, namespace: default}
spec:
  podSelector: {matchLabels: {app: a}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: web}]}]
  egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {app: b}}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: b, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/30}}, {podSelector: {matchLabels: {app: a}}}]}]
";

fn compiled(inventory: &Inventory) -> Ruleset {
    let mut reader = document::Reader::default();
    reader.file(&"policies.yaml".into(), POLICIES);
    let documents = reader.finish();
    assert_eq!(documents.problems, []);
    Ruleset::compile(&documents.set, inventory, Settings::default())
}

#[derive(Debug, Clone)]
enum Step {
    /// These pods are behind the interfaces, by number.
    Learn(Vec<(u32, Who)>, bool),
    Declare(u8, Option<Declared>),
    Begin(Vec<(u8, Declared)>),
}

#[derive(Debug, Clone)]
struct Who {
    kind: EndpointKind,
    name: Option<u8>,
    app: Option<u8>,
    addresses: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Declared {
    app: u8,
    address: Option<u8>,
    host_network: bool,
}

fn who() -> impl Strategy<Value = Who> {
    let kind = prop_oneof![
        Just(EndpointKind::Pod),
        Just(EndpointKind::Container),
        Just(EndpointKind::Netns),
        Just(EndpointKind::Unknown),
    ];
    let (name, app) = (
        prop::option::weighted(0.8, 0..4_u8),
        prop::option::of(0..2_u8),
    );
    let addresses = prop::collection::vec(0..8_u8, 0..3);
    (kind, name, app, addresses).prop_map(|(kind, name, app, addresses)| Who {
        kind,
        name,
        app,
        addresses,
    })
}

fn declared() -> impl Strategy<Value = Declared> {
    let of = (
        0..2_u8,
        prop::option::of(0..8_u8),
        prop::bool::weighted(0.1),
    );
    of.prop_map(|(app, address, host_network)| Declared {
        app,
        address,
        host_network,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let learned = prop::collection::vec((0..5_u32, who()), 0..5);
    let pods = prop::collection::vec((0..4_u8, declared()), 0..4);
    let step = prop_oneof![
        3 => (learned, any::<bool>()).prop_map(|(who, host)| Step::Learn(who, host)),
        2 => (0..4_u8, prop::option::of(declared())).prop_map(|(id, pod)| Step::Declare(id, pod)),
        1 => pods.prop_map(Step::Begin),
    ];
    prop::collection::vec(step, 1..12)
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn app(number: u8) -> Labels {
    let app = if number == 0 { "a" } else { "b" };
    Labels::from([("app".into(), app.into())])
}

/// The first two are of `default`.
fn id(number: u8) -> PodId {
    PodId {
        namespace: if number < 2 { "default" } else { "shop" }.into(),
        name: format!("pod{number}").into(),
    }
}

fn pod(of: &Declared) -> Pod {
    Pod {
        labels: app(of.app),
        addresses: of.address.map(address).into_iter().collect(),
        host_network: of.host_network,
        ..Pod::default()
    }
}

fn identity(of: &Who) -> Arc<Identity> {
    let id = of.name.map(id);
    Arc::new(Identity {
        namespace: id.as_ref().map(|id| Arc::clone(&id.namespace)),
        name: id.map(|id| id.name),
        labels: of.app.map(app),
        source: Some(IdentitySource::Cri),
        ..Identity::nameless(of.kind)
    })
}

/// What a world looks like that has gone through the steps, or has begun as it is by now.
struct World {
    pods: Pods,
    ruleset: Ruleset,
}

/// Who is behind the interfaces, and their addresses and networks.
type Interfaces = BTreeMap<u32, (Arc<Identity>, Vec<IpAddr>, Vec<IpNetwork>)>;

impl World {
    fn new(inventory: Inventory) -> Self {
        let mut world = Self {
            pods: Pods::default(),
            ruleset: compiled(&inventory),
        };
        world.pods.begin(inventory, &mut world.ruleset);
        world
    }

    fn learn(&mut self, interfaces: &Interfaces, host: &[IpAddr]) {
        let behind = interfaces.iter();
        let behind = behind.map(|(ifindex, (identity, addresses, networks))| Behind {
            ifindex: *ifindex,
            identity,
            addresses,
            networks,
        });
        self.pods.learn(behind, host, &mut self.ruleset);
    }

    /// Everything that can be asked of those who are there.
    fn says(&self, there: &[PodId]) -> Vec<Verdicts> {
        let named = there.iter().map(|id| (address(200), Some(id.clone())));
        let ends: Vec<_> = named
            .chain((0..10).map(|last| (address(last), None)))
            .map(|(address, pod)| End { address, pod })
            .collect();
        let pairs = ends
            .iter()
            .flat_map(|one| ends.iter().map(move |other| (one, other)));
        pairs
            .map(|(initiator, responder)| {
                self.ruleset.judge(&Connection {
                    initiator: initiator.clone(),
                    responder: responder.clone(),
                    protocol: 6,
                    port: Some(80),
                })
            })
            .collect()
    }
}

proptest! {
    /// However it came to be as it is, it is judged as if it had always been so.
    #[test]
    fn history_does_not_matter(steps in steps()) {
        let mut inventory = Inventory::default();
        let mut interfaces = Interfaces::new();
        let mut host = Vec::new();
        let mut world = World::new(inventory.clone());
        for step in steps {
            match step {
                Step::Learn(behind, has_host) => {
                    let of = |who: &Who| {
                        let addresses: Vec<_> = who.addresses.iter().copied().map(address).collect();
                        let networks = addresses.iter().map(|_| "10.0.0.0/29".parse().unwrap());
                        (identity(who), addresses.clone(), networks.take(1).collect())
                    };
                    interfaces = behind.iter().map(|(ifindex, who)| (*ifindex, of(who))).collect();
                    host = if has_host { vec![address(9)] } else { Vec::new() };
                    world.learn(&interfaces, &host);
                }
                Step::Declare(number, declared) => {
                    let declared = declared.as_ref().map(pod);
                    inventory.pods.remove(&id(number));
                    inventory.pods.extend(declared.clone().map(|pod| (id(number), pod)));
                    world.pods.declare(&id(number), declared, &mut world.ruleset);
                }
                Step::Begin(pods) => {
                    let pods = pods.iter().map(|(number, it)| (id(*number), pod(it)));
                    inventory.pods = pods.collect();
                    world.ruleset = compiled(&inventory);
                    world.pods.begin(inventory.clone(), &mut world.ruleset);
                }
            }
            let mut fresh = World::new(inventory.clone());
            fresh.learn(&interfaces, &host);
            let ids = |world: &World| -> Vec<Option<PodId>> {
                (0..5).map(|ifindex| world.pods.behind(ifindex).cloned()).collect()
            };
            prop_assert_eq!(ids(&world), ids(&fresh));
            let there: Vec<PodId> = ids(&fresh)
                .into_iter()
                .flatten()
                .chain(inventory.pods.keys().cloned())
                .collect();
            prop_assert_eq!(world.says(&there), fresh.says(&there));
        }
    }
}

#[test]
fn who_is_gone_is_known_until_too_many_are() {
    let mut world = World::new(Inventory::default());
    let who = |number: u32| Who {
        kind: EndpointKind::Netns,
        name: u8::try_from(number).ok(),
        app: Some(0),
        addresses: vec![3],
    };
    let behind = |who: &Who| {
        let addresses = vec![address(3)];
        Interfaces::from([(1, (identity(who), addresses, Vec::new()))])
    };
    let egress = |world: &World, number: u8| {
        let end = |address, pod| End { address, pod };
        world
            .ruleset
            .judge(&Connection {
                initiator: end(address(3), Some(id(number))),
                responder: end(IpAddr::from([1, 1, 1, 1]), None),
                protocol: 6,
                port: Some(80),
            })
            .egress
            .map(|verdict| verdict.reason.label())
    };
    world.learn(&behind(&who(0)), &[]);
    assert_eq!(egress(&world, 0), Some("no-rule-matched"));
    world.learn(&behind(&who(1)), &[]);
    assert_eq!(
        egress(&world, 0),
        Some("no-rule-matched"),
        "it is gone, its flows may not be"
    );
    let anew = compiled(&Inventory::default());
    for _ in 0..MOST_GONE {
        world.ruleset = anew.clone();
        world.pods.begin(Inventory::default(), &mut world.ruleset);
    }
    let message = "whatever is read anew";
    assert_eq!(egress(&world, 0), Some("no-rule-matched"), "{message}");
    for number in 0..=u32::try_from(MOST_GONE).unwrap() {
        world.learn(&behind(&who(2 + number % 100)), &[]);
    }
    assert_eq!(egress(&world, 0), Some("unknown-pod"));
}

#[test]
fn what_is_not_known_to_be_anothers_may_be_its_address() {
    let mut ruleset = compiled(&Inventory::default());
    let identity = Arc::new(Identity::nameless(EndpointKind::Pod));
    let known: [IpAddr; 1] = ["10.0.0.1".parse().unwrap()];
    let mut pods = Pods::default();
    let behind = |ifindex, addresses| Behind {
        ifindex,
        identity: &identity,
        addresses,
        networks: &[],
    };
    let all = [behind(1, &known[..]), behind(2, &[])];
    pods.learn(all.into_iter(), &[], &mut ruleset);
    for (ifindex, address, may) in [
        (1, "10.0.0.1", true),
        (1, "::ffff:10.0.0.1", true),
        (1, "10.0.0.2", false),
        (1, "169.254.1.1", true),
        (1, "fe80::1", true),
        (1, "fd00::1", true),
        (1, "224.0.0.251", false),
        (2, "10.0.0.2", true),
        (2, "255.255.255.255", false),
        (2, "ff02::fb", false),
        (3, "10.0.0.2", true),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(pods.may_have(ifindex, address), may, "{ifindex} {address}");
    }
}

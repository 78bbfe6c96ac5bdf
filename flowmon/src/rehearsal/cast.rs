//! Who is needed for which connections, and what is to be asked for each. Pure.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use flowmon_common::wire::protocol;

use crate::{
    lab::{
        stage::{Party, Plan, is_fit},
        traffic::Kind,
    },
    policy::{
        Connection, Inventory, Ruleset,
        inventory::{Pod, PodId},
        verdict::End,
    },
};

/// Network namespaces of one stage. Each takes a millisecond or two, and some entries of the
/// kernel's neighbour table, of which there are 1024 in all (`net.ipv4.neigh.default.gc_thresh3`).
pub(super) const MOST_SEATS: usize = 400;

/// Where somebody is on the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Seat {
    /// A node, by its number.
    Node(usize),
    /// A pod, by its node's number and its own there.
    Pod(usize, usize),
    /// Outside.
    Outside(usize),
}

/// A probe to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) from: Seat,
    pub(super) source: IpAddr,
    pub(super) to: Seat,
    pub(super) target: IpAddr,
    pub(super) kind: Kind,
}

/// What is to be done about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// One probe, by its number, which is the connection.
    Direct(usize),
    /// One for each who answers for the service that it goes to.
    Answering(Vec<usize>),
    /// Nothing, and why.
    Nothing(String),
}

/// Everybody, and all that is to be asked. No probe is made twice.
#[derive(Debug, Default)]
pub struct Cast {
    pub(super) plan: Plan,
    pub(super) pods: HashMap<Seat, PodId>,
    pub(super) probes: Vec<Asked>,
    /// In the order of the connections.
    pub(super) tasks: Vec<Task>,
}

/// Who somebody is. Pods that use their node's network are that node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Pod(PodId),
    Node(Arc<str>),
    Outside(IpAddr),
}

/// Whose an address is.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    One(Who),
    Several,
    /// No machine's.
    Service,
}

struct Casting<'a> {
    inventory: &'a Inventory,
    ruleset: &'a Ruleset,
    addresses: BTreeMap<IpAddr, Claim>,
    nodes: HashMap<Arc<str>, usize>,
    seats: HashMap<Who, Seat>,
    numbers: HashMap<Asked, usize>,
    cast: Cast,
}

impl Cast {
    /// For these connections, some of which may be the same.
    pub fn new(inventory: &Inventory, ruleset: &Ruleset, connections: &[&Connection]) -> Self {
        let mut casting = Casting {
            inventory,
            ruleset,
            addresses: addresses(inventory),
            nodes: HashMap::new(),
            seats: HashMap::new(),
            numbers: HashMap::new(),
            cast: Self::default(),
        };
        for connection in connections {
            let task = casting.task(connection).unwrap_or_else(Task::Nothing);
            casting.cast.tasks.push(task);
        }
        casting.cast
    }

    /// Room for flows that none of them is evicted: each probe has two, and everybody some of
    /// neighbour discovery. An LRU map evicts before it is full, as each CPU keeps free entries aside.
    pub fn entries(&self) -> u32 {
        const LEAST: usize = 16_384;
        let entries = self.probes.len() * 2 + self.seats() * 32;
        u32::try_from((entries * 4).max(LEAST)).unwrap_or(u32::MAX)
    }

    /// Everybody.
    pub(super) fn seats(&self) -> usize {
        let pods = self.plan.nodes.iter().map(|(_, pods)| pods.len() + 1);
        pods.sum::<usize>() + self.plan.outside.len()
    }
}

impl Casting<'_> {
    fn task(&mut self, connection: &Connection) -> Result<Task, String> {
        if let Some(answering) = self.ruleset.answering(connection) {
            if answering.is_empty() {
                return Err("nobody answers for the service".to_owned());
            }
            let numbers = answering.iter().map(|it| self.probe(it));
            return Ok(Task::Answering(numbers.collect::<Result<_, _>>()?));
        }
        self.probe(connection).map(Task::Direct)
    }

    /// Number of the probe that is this connection.
    fn probe(&mut self, connection: &Connection) -> Result<usize, String> {
        let kind = kind(connection)?;
        let ends = [&connection.initiator, &connection.responder];
        let [source, target] = ends.map(|end| end.address.to_canonical());
        let [from, to] = ends.map(|end| self.who(end));
        let (from, to) = (from?, to?);
        if from == to {
            return Err("what somebody sends to itself crosses no interface".to_owned());
        }
        if !matches!(from, Who::Pod(_)) && !matches!(to, Who::Pod(_)) {
            return Err("neither end is a pod, so none is watched".to_owned());
        }
        let asked = Asked {
            from: self.seat(&from),
            source,
            to: self.seat(&to),
            target,
            kind,
        };
        Ok(match self.numbers.entry(asked) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                self.cast.probes.push(asked);
                *vacant.insert(self.cast.probes.len() - 1)
            }
        })
    }

    fn who(&self, end: &End) -> Result<Who, String> {
        let address = end.address.to_canonical();
        if !is_fit(address) {
            return Err(format!("nobody on another machine can have {address}"));
        }
        match self.addresses.get(&address) {
            Some(Claim::One(who)) => Ok(who.clone()),
            Some(Claim::Several) => Err(format!("more than one has {address}")),
            Some(Claim::Service) => Err(format!(
                "{address} is a service's, and nobody listens there"
            )),
            None => Ok(Who::Outside(address)),
        }
    }

    fn seat(&mut self, who: &Who) -> Seat {
        if let Some(seat) = self.seats.get(who) {
            return *seat;
        }
        let seat = match who {
            Who::Node(name) => Seat::Node(self.node(name)),
            Who::Pod(id) => {
                let node = self.inventory.pods.get(id).map(on_node).unwrap_or_default();
                let node = self.node(&node);
                let party = self.party(format!("{}/{}", id.namespace, id.name), who);
                let mut number = 0;
                if let Some((_, pods)) = self.cast.plan.nodes.get_mut(node) {
                    number = pods.len();
                    pods.push(party);
                }
                Seat::Pod(node, number)
            }
            Who::Outside(address) => {
                let outside = &mut self.cast.plan.outside;
                outside.push(Party {
                    name: address.to_string(),
                    addresses: vec![*address],
                });
                Seat::Outside(outside.len() - 1)
            }
        };
        if let Who::Pod(id) = who {
            self.cast.pods.insert(seat, id.clone());
        }
        self.seats.insert(who.clone(), seat);
        seat
    }

    fn node(&mut self, name: &Arc<str>) -> usize {
        if let Some(number) = self.nodes.get(name) {
            return *number;
        }
        let party = self.party(name.to_string(), &Who::Node(Arc::clone(name)));
        self.cast.plan.nodes.push((party, Vec::new()));
        let number = self.cast.plan.nodes.len() - 1;
        self.nodes.insert(Arc::clone(name), number);
        number
    }

    /// With all addresses that can be given to it and are nobody else's.
    fn party(&self, name: String, who: &Who) -> Party {
        let is_own = |claim: &Claim| matches!(claim, Claim::One(it) if it == who);
        let own = self.addresses.iter();
        let own = own.filter(|(address, claim)| is_own(claim) && is_fit(**address));
        Party {
            name,
            addresses: own.map(|(address, _)| *address).collect(),
        }
    }
}

fn addresses(inventory: &Inventory) -> BTreeMap<IpAddr, Claim> {
    let mut addresses = BTreeMap::new();
    let mut claim = |address: IpAddr, who: Who| {
        let known = addresses.entry(address.to_canonical());
        let known = known.or_insert_with(|| Claim::One(who.clone()));
        if !matches!(known, Claim::One(it) if *it == who) {
            *known = Claim::Several;
        }
    };
    for (name, node) in &inventory.nodes {
        for address in &node.addresses {
            claim(*address, Who::Node(Arc::clone(name)));
        }
    }
    for (id, pod) in &inventory.pods {
        let node = || Who::Node(on_node(pod));
        for address in &pod.addresses {
            claim(
                *address,
                if pod.host_network {
                    node()
                } else {
                    Who::Pod(id.clone())
                },
            );
        }
        for address in &pod.host_addresses {
            claim(*address, node());
        }
    }
    for address in inventory.services.values().flat_map(|it| &it.addresses) {
        // A node's, where it is one: the service has some of its ports.
        addresses
            .entry(address.to_canonical())
            .or_insert(Claim::Service);
    }
    addresses
}

/// A pod of no node is on one without a name.
fn on_node(pod: &Pod) -> Arc<str> {
    pod.node.clone().unwrap_or_default()
}

fn kind(connection: &Connection) -> Result<Kind, String> {
    let is_v4 = connection.responder.address.to_canonical().is_ipv4();
    match (connection.protocol, connection.port) {
        (protocol::TCP, Some(port)) => Ok(Kind::Tcp(port)),
        (protocol::UDP, Some(port)) => Ok(Kind::Udp(port)),
        (protocol::SCTP, Some(port)) => Ok(Kind::Sctp(port)),
        (protocol::ICMP, _) if is_v4 => Ok(Kind::Echo),
        (protocol::ICMPV6, _) if !is_v4 => Ok(Kind::Echo),
        (protocol::ICMP | protocol::ICMPV6, _) => {
            Err("ICMP is another one for each version of IP".to_owned())
        }
        (other, _) => Err(format!("nobody here speaks protocol {other}")),
    }
}

//! Flows judged while they go on: by a basis that changes, and by names that become known.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, Hash},
    net::IpAddr,
    sync::Arc,
};

use foldhash::quality::RandomState;

use super::{
    Account, Amendment, Audited, Basis, Behind, End, Findings, Flow, Judged, Judgement, Party,
    Talk, Who, judge, pods::Pods, recent::Recent,
};
use crate::{
    model::{self, Direction, Endpoint, EndpointKind, Identity, Verdict},
    policy::{Inventory, Outcome, PolicySet, Reason, Ruleset, Settings, inventory::PodId},
};

/// Flows that are known by their latest report: twice what the kernel keeps.
const FLOWS: usize = 524_288;
/// Connections whose verdict is remembered.
const CONNECTIONS: usize = 65_536;
/// Groups that are told apart.
const GROUPS: usize = 4096;

/// Judges flows, and keeps the account.
pub struct Live {
    ruleset: Ruleset,
    /// There are policies, by which the ruleset was made.
    has_basis: bool,
    policies: BTreeMap<&'static str, usize>,
    /// As in the basis.
    unknown: BTreeSet<Arc<str>>,
    refused: u64,
    pods: Pods,
    account: Account,
    /// Buckets of connections; of no use once anybody is somebody else.
    connections: Recent<u32>,
    keys: [RandomState; 2],
    /// By number of the judgement.
    verdicts: Vec<Option<Verdict>>,
}

/// A flow, and who is at its ends.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The flow, as it is now.
    pub flow: &'a model::Flow,
    /// Where it was seen.
    pub endpoint: &'a Endpoint,
    /// Who has the other end's address. As long as nobody is told to be somebody else, it is found
    /// at the same place.
    pub remote: Option<&'a Identity>,
}

/// The word on a flow.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a> {
    /// What policies say of it; none when none is about it.
    pub verdict: Option<&'a Verdict>,
    /// It was counted before, with another verdict.
    pub is_other: bool,
}

impl Live {
    /// Judges by this; without it, everything is undecided until there is one.
    pub fn new(basis: Option<Basis>) -> Self {
        let mut live = Self {
            ruleset: Ruleset::compile(
                &PolicySet::default(),
                &Inventory::default(),
                Settings::default(),
            ),
            has_basis: false,
            policies: BTreeMap::new(),
            unknown: BTreeSet::new(),
            refused: 0,
            pods: Pods::default(),
            account: Account::new(false, FLOWS, GROUPS),
            connections: Recent::new(CONNECTIONS),
            keys: Default::default(),
            verdicts: Vec::new(),
        };
        if let Some(basis) = basis {
            live.begin(basis);
        }
        live
    }

    /// Takes an amendment. Returns whether verdicts may be others now.
    pub fn amend(&mut self, amendment: Amendment) -> bool {
        match amendment {
            Amendment::Whole(basis) => self.begin(*basis),
            Amendment::Pod(id, pod) => {
                self.pods.declare(&id, pod, &mut self.ruleset);
                self.forget();
            }
            Amendment::Refused => {
                self.refused += 1;
                return false;
            }
        }
        true
    }

    fn begin(&mut self, basis: Basis) {
        self.ruleset = basis.ruleset;
        self.pods.begin(basis.inventory, &mut self.ruleset);
        self.policies = basis.policies;
        self.unknown = basis.unknown;
        self.has_basis = true;
        self.forget();
    }

    /// Takes in who is behind all interfaces, and which addresses the host has. `renamed` says that
    /// somebody at another end may be somebody else.
    pub fn learn<'a>(
        &mut self,
        behind: impl Iterator<Item = Behind<'a>>,
        host: &[IpAddr],
        renamed: bool,
    ) {
        if self.pods.learn(behind, host, &mut self.ruleset) || renamed {
            self.forget();
        }
    }

    /// Who exists, as far as the basis says.
    pub const fn inventory(&self) -> &Inventory {
        self.pods.inventory()
    }

    fn forget(&mut self) {
        self.connections = Recent::new(CONNECTIONS);
    }

    /// Judges a flow, and counts it in the place of its last report. `ended` says that there is no
    /// later one.
    pub fn note(&mut self, observed: &Observed<'_>, ended: bool) -> Word<'_> {
        let connection = self.hash(&Connection::of(observed));
        let known = self.connections.get_mut(connection).map(|bucket| *bucket);
        let bucket = known.unwrap_or_else(|| {
            let bucket = self.bucket(observed);
            self.connections.insert(connection, bucket);
            bucket
        });
        let Observed { flow, .. } = observed;
        let name = self.hash(&(flow.key, flow.stats.first_ns));
        let before = self.account.count(name, flow.totals(), ended, bucket);
        let number = self.account.judgement_in(bucket);
        let is_other = before.is_some_and(|before| self.account.judgement_in(before) != number);
        Word {
            verdict: self.verdict(number),
            is_other,
        }
    }

    /// What it comes to so far.
    pub fn audited(&self) -> Audited {
        let mut audited = Findings::new(&self.account).audited();
        audited.policies.clone_from(&self.policies);
        audited.policy_reload_failures = self.refused;
        audited
    }

    fn verdict(&mut self, number: u32) -> Option<&Verdict> {
        let number = number as usize;
        while self.verdicts.len() <= number {
            let next = u32::try_from(self.verdicts.len()).ok()?;
            self.verdicts.push(match self.account.judgement(next)? {
                Judgement::Is(judged) => Some(judged.verdict()),
                Judgement::Not(_) => None,
            });
        }
        self.verdicts.get(number)?.as_ref()
    }

    fn hash(&self, what: &impl Hash) -> u128 {
        let [high, low] = self.keys.each_ref().map(|key| key.hash_one(what));
        u128::from(high) << 64 | u128::from(low)
    }

    fn bucket(&mut self, observed: &Observed<'_>) -> u32 {
        let flow = self.flow(observed);
        let judgement = if self.has_basis && !self.is_unknown(&flow) {
            judge(&flow, &Who::default(), |it| self.ruleset.judge(it))
        } else {
            unknown_policies(&flow)
        };
        let pods = &self.pods;
        let talk = || talk(pods, &flow, observed);
        self.account.bucket(judgement, None, talk, &flow)
    }

    /// Is there a policy that can't be used, and may be about it?
    fn is_unknown(&self, flow: &Flow) -> bool {
        let ends = [&flow.local, &flow.remote].into_iter().flatten();
        let mut pods = ends.filter_map(|end| {
            let pod = end.pod.as_ref();
            pod.or_else(|| self.pods.with(end.address))
        });
        !self.unknown.is_empty()
            && (self.unknown.contains("") || pods.any(|pod| self.unknown.contains(&pod.namespace)))
    }

    fn flow(&self, observed: &Observed<'_>) -> Flow {
        let Observed {
            flow,
            endpoint,
            remote,
        } = observed;
        let flow = Flow::of(
            flow,
            endpoint.identity.kind == EndpointKind::Host,
            self.pods.behind(endpoint.ifindex).cloned(),
            |address| self.pods.called((*remote)?, address),
        );
        let local = flow.local.as_ref().map(|end| end.address);
        let is_for_it = |it| self.pods.may_have(endpoint.ifindex, it);
        Flow {
            is_astray: flow.direction != Direction::Egress && !local.is_none_or(is_for_it),
            ..flow
        }
    }
}

/// Who talks to whom, by the names that records have.
fn talk(pods: &Pods, flow: &Flow, observed: &Observed<'_>) -> Option<Talk> {
    let party = |end: &End, identity: Option<&Identity>| {
        let by_address = || match pods.with(end.address) {
            Some(id) => Party::Pod(id.clone()),
            None => Party::Address(end.address),
        };
        match &end.pod {
            Some(id) => Party::Pod(id.clone()),
            None => identity.and_then(party).unwrap_or_else(by_address),
        }
    };
    Some(Talk {
        endpoint: party(flow.local.as_ref()?, Some(&observed.endpoint.identity)),
        peer: party(flow.remote.as_ref()?, observed.remote),
        protocol: flow.protocol,
        port: flow.asked_port(),
    })
}

/// What is no pod, by its name.
fn party(identity: &Identity) -> Option<Party> {
    let name = Arc::clone(identity.name.as_ref()?);
    Some(match (identity.kind, &identity.namespace) {
        (EndpointKind::Service, Some(namespace)) => Party::Service(PodId {
            namespace: Arc::clone(namespace),
            name,
        }),
        (EndpointKind::Node | EndpointKind::Host, _) => Party::Node(name),
        _ => Party::Named(name),
    })
}

fn unknown_policies(flow: &Flow) -> Judgement {
    Judgement::Is(Judged {
        outcome: Outcome::Undecided,
        direction: flow.direction,
        policy: None,
        rule: None,
        reason: Reason::UnknownPolicies,
        peer_outcome: None,
    })
}

/// All that a verdict depends on, as long as everybody is who they are.
#[derive(Hash)]
struct Connection {
    ifindex: u32,
    protocol: model::Protocol,
    direction: Direction,
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    /// That which was asked; both, where it is not known who asked.
    ports: (Option<u16>, Option<u16>),
    icmp: Option<u8>,
    /// Addresses are used again, so one may be two at a time. Where they are kept tells them apart.
    remote_identity: usize,
}

impl Connection {
    fn of(observed: &Observed<'_>) -> Self {
        let Observed { flow, remote, .. } = observed;
        let direction = flow.direction();
        let (local, remote_port) = flow.ports().unzip();
        Self {
            ifindex: flow.key.ifindex,
            protocol: flow.protocol(),
            direction,
            local: flow.local_ip(),
            remote: flow.remote_ip(),
            ports: match direction {
                Direction::Egress => (None, remote_port),
                Direction::Ingress => (local, None),
                Direction::Unknown => (local, remote_port),
            },
            icmp: flow.icmp().map(|icmp| icmp.kind),
            remote_identity: remote.map_or(0, |identity| std::ptr::from_ref(identity).addr()),
        }
    }
}

#[cfg(test)]
mod tests;

//! Policies as they are meant: validated, defaults filled in, every kind in one form.

use std::{fmt, sync::Arc};

use ipnetwork::IpNetwork;

use super::{Place, Selector};

/// Every policy in force.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    /// In the order in which they were read. No two have the same kind, namespace and name.
    pub policies: Vec<Arc<Policy>>,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What it is and how it is called.
    pub id: PolicyId,
    /// Where it stands among the others.
    pub tier: Tier,
    /// The pods it is about.
    pub subject: Subject,
    /// What may come in. `None`: it has nothing to say about that. Of a `NetworkPolicy`, an empty
    /// list isolates its pods and lets nothing in.
    pub ingress: Option<Vec<Rule>>,
    /// What may go out, alike.
    pub egress: Option<Vec<Rule>>,
    /// Where the document begins.
    pub place: Place,
}

/// What names a policy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; only a `NetworkPolicy` has one.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for PolicyId {
    /// `shop/cart-egress`, or just the name of what belongs to the whole cluster.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(out, "{namespace}/")?;
        }
        write!(out, "{}", self.name)
    }
}

/// The kinds flowmon knows, by API group and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Kind {
    /// `networking.k8s.io/v1`
    NetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha2`
    ClusterNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    AdminNetworkPolicy,
    /// `policy.networking.k8s.io/v1alpha1`
    BaselineAdminNetworkPolicy,
}

impl Kind {
    /// As in the document's `kind`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
        }
    }
}

/// The order of judgement: admin by priority, then network policies all together, then baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Asked first; lower priorities before higher ones. First match decides.
    Admin {
        /// 0 to 1000.
        priority: i32,
    },
    /// A pod that any of them isolates gets what one of them allows, and nothing else.
    NetworkPolicy,
    /// Asked for pods that no network policy isolates.
    Baseline {
        /// 0 to 1000; 0 for a `BaselineAdminNetworkPolicy`, of which there is one.
        priority: i32,
    },
}

/// The pods a policy is about. Never host-network pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// In these namespaces.
    pub namespaces: Namespaces,
    /// With these labels.
    pub pods: Selector,
}

/// Which namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// The one of this name: the policy's own.
    Named(Arc<str>),
    /// All with these labels; every namespace has `kubernetes.io/metadata.name`.
    Selected(Selector),
}

/// One entry of `ingress` or `egress`: it matches what one of its peers and one of its ports match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its own name, where its kind has one.
    pub name: Option<Arc<str>>,
    /// What to do with what matches. A `NetworkPolicy` only accepts.
    pub action: Action,
    /// The other ends.
    pub peers: Peers,
    /// The responder's ports.
    pub ports: Ports,
    /// Where it stands; its path is what records call the rule (`spec.` left out there).
    pub place: Place,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Allowed, as far as this direction goes (`Allow` in v1alpha1, `Accept` in v1alpha2).
    Accept,
    /// Denied.
    Deny,
    /// Left to the next tier.
    Pass,
}

/// The other ends a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Every one, outside the cluster too.
    Any,
    /// One of these.
    OneOf(Vec<Peer>),
}

/// One entry of `from` or `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it matches.
    pub what: PeerMatch,
    /// Where it stands.
    pub place: Place,
}

/// What a peer matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerMatch {
    /// Pods of the pod network, by namespace and labels; both must match.
    Pods {
        /// In these namespaces.
        namespaces: Namespaces,
        /// With these labels.
        pods: Selector,
    },
    /// `ipBlock` of a `NetworkPolicy`. Whether it matches pod addresses is a setting.
    IpBlock {
        /// Host bits are masked.
        cidr: IpNetwork,
        /// Strictly inside `cidr`, and not matched.
        except: Vec<IpNetwork>,
    },
    /// `networks` of the admin kinds: matches pod addresses too.
    Networks(Vec<IpNetwork>),
    /// `nodes` of the admin kinds, by node labels.
    Nodes(Selector),
    /// `domainNames` of the admin kinds, lower case: `*.` at the start stands for one label or more.
    /// Undecided as long as nobody knows which addresses a name has.
    DomainNames(Vec<Arc<str>>),
    /// A peer of a newer version of the API: an accepting rule matches nothing by it, any other
    /// denies all.
    Unknown,
}

/// The ports a rule is about, always the responder's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// All of all protocols.
    All,
    /// One of these.
    OneOf(Vec<Port>),
}

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// What it matches.
    pub what: PortMatch,
    /// Where it stands.
    pub place: Place,
}

/// What a port matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortMatch {
    /// Every port of a protocol.
    Protocol(PortProtocol),
    /// Ports `first` to `last`, both included.
    Range {
        /// Of this protocol.
        protocol: PortProtocol,
        /// From this one.
        first: u16,
        /// To this one.
        last: u16,
    },
    /// The port that the responding pod's containers call so; matches no one who is not a pod.
    Named {
        /// Must be the container port's too; any, where the kind does not say.
        protocol: Option<PortProtocol>,
        /// The name.
        name: Arc<str>,
    },
}

/// The protocols that policies know ports of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl PortProtocol {
    /// Its IANA number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The one of this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            132 => Some(Self::Sctp),
            _ => None,
        }
    }

    /// As in a document.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

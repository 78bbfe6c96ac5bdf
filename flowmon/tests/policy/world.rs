//! Small clusters in few words, and questions to both evaluators about them.

use std::net::IpAddr;

use flowmon::policy::{
    Connection, Inventory, Labels, Outcome, PolicySet, Ruleset, Settings, Verdict, Verdicts,
    document,
    inventory::{NamedPort, Node, Pod, PodId, Service, ServicePort, TargetPort},
    model::PortProtocol,
    verdict::End,
};

use super::naive::Naive;

/// Who exists and what is declared.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) inventory: Inventory,
    pub(crate) policies: PolicySet,
    pub(crate) settings: Settings,
}

impl World {
    /// `lines` as for [`World::add`], policies as [`policy`] writes them.
    pub(crate) fn new(lines: &str, policies: &[String]) -> Self {
        let mut world = Self::default();
        for line in lines.lines() {
            world.add(line.trim());
        }
        world.declare(&policies.join("---\n"));
        world
    }

    /// One who exists:
    /// `namespace NAME LABELS`, `node NAME ADDRESS LABELS`, `pod NS/NAME ADDRESSES LABELS PORT/PROTOCOL[/NAME]…`,
    /// `service NS/NAME ADDRESS SELECTOR PORT/PROTOCOL=TARGET…`. Pods are on node `node1`, 172.16.0.1.
    pub(crate) fn add(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            ["namespace", name, ..] => {
                let mut all = labels(words.get(2).copied().unwrap_or("-"));
                all.insert("kubernetes.io/metadata.name".into(), name.into());
                self.inventory.namespaces.insert(name.into(), all);
            }
            ["node", name, address, of_it] => {
                let node = Node {
                    labels: labels(of_it),
                    addresses: addresses(address),
                    pod_networks: Vec::new(),
                };
                self.inventory.nodes.insert(name.into(), node);
            }
            ["pod", name, address, of_it, ref ports @ ..] => {
                let pod = Pod {
                    labels: labels(of_it),
                    addresses: addresses(address),
                    owner: None,
                    node: Some("node1".into()),
                    host_addresses: addresses("172.16.0.1"),
                    host_network: false,
                    ports_unknown: false,
                    ports: ports.iter().filter_map(|port| named_port(port)).collect(),
                };
                self.inventory.pods.insert(id(name), pod);
            }
            ["service", name, address, selector, ref ports @ ..] => {
                let service = Service {
                    addresses: addresses(address),
                    ports: ports.iter().map(|port| service_port(port)).collect(),
                    selector: (selector != "-").then(|| labels(selector)),
                    endpoints: None,
                };
                self.inventory.services.insert(id(name), service);
            }
            _ => panic!("{line}"),
        }
    }

    /// Reads policies, in place of those it has.
    pub(crate) fn declare(&mut self, yaml: &str) {
        let documents = document::read([("test.yaml".into(), yaml)]);
        assert_eq!(documents.errors().next(), None, "{yaml}");
        self.policies = documents.set;
    }

    pub(crate) fn pod(&mut self, name: &str) -> &mut Pod {
        self.inventory.pods.get_mut(&id(name)).unwrap()
    }

    /// What is said of a connection `"a/p > b/q 80/tcp"`; `?/tcp` is a port that is not known. Pods are
    /// found by their addresses, or by their names where `!` comes before.
    pub(crate) fn ask(&self, question: &str) -> Verdicts {
        let connection = self.connection(question);
        let ruleset = Ruleset::compile(&self.policies, &self.inventory, self.settings);
        let verdicts = ruleset.judge(&connection);
        let Self {
            inventory,
            policies,
            settings,
        } = self;
        let naive = Naive {
            policies,
            inventory,
            settings: *settings,
        };
        assert_eq!(verdicts, naive.judge(&connection), "{question}");
        verdicts
    }

    pub(crate) fn connection(&self, question: &str) -> Connection {
        let words: Vec<&str> = question.split_whitespace().collect();
        let [from, ">", to, port] = words[..] else {
            panic!("{question}")
        };
        let to = self.end(to);
        let family = to.address;
        let (port, protocol) = port.split_once('/').unwrap();
        Connection {
            initiator: self.end_of_family(from, Some(family)),
            responder: to,
            protocol: number(protocol),
            port: port.parse().ok(),
        }
    }

    fn end(&self, text: &str) -> End {
        self.end_of_family(text, None)
    }

    fn end_of_family(&self, text: &str, family: Option<IpAddr>) -> End {
        if let Ok(address) = text.parse() {
            return End { address, pod: None };
        }
        let name = id(text.trim_start_matches('!'));
        let fits =
            |address: &&IpAddr| family.is_none_or(|other| other.is_ipv4() == address.is_ipv4());
        let mut addresses = self.inventory.pods[&name].addresses.iter();
        End {
            address: *addresses.find(fits).unwrap(),
            pod: text.starts_with('!').then_some(name),
        }
    }

    /// The initiator's verdict, in words.
    pub(crate) fn egress(&self, question: &str) -> String {
        words(self.ask(question).egress)
    }

    /// The responder's.
    pub(crate) fn ingress(&self, question: &str) -> String {
        words(self.ask(question).ingress)
    }

    /// Both together: allowed if neither denies.
    pub(crate) fn passes(&self, question: &str) -> bool {
        let Verdicts { egress, ingress } = self.ask(question);
        [egress, ingress].into_iter().flatten().all(|verdict| {
            assert_ne!(
                verdict.outcome,
                Outcome::Undecided,
                "{question}: {verdict:?}"
            );
            verdict.outcome == Outcome::Allowed
        })
    }
}

/// `denied no-rule-matched ns/policy`, `allowed rule-matched ns/policy ingress[0]`, or `-`.
fn words(verdict: Option<Verdict>) -> String {
    let Some(verdict) = verdict else {
        return "-".to_owned();
    };
    let outcome = format!("{:?}", verdict.outcome).to_lowercase();
    let policy = verdict
        .policy
        .map(|policy| format!(" {policy}"))
        .unwrap_or_default();
    let rule = verdict
        .rule
        .map(|rule| format!(" {rule}"))
        .unwrap_or_default();
    format!("{outcome} {}{policy}{rule}", verdict.reason.label())
}

/// A `NetworkPolicy` of this spec, in YAML.
pub(crate) fn np(name: &str, spec: &str) -> String {
    let PodId { namespace, name } = id(name);
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {name:?}, namespace: {namespace:?}}}\nspec: {spec}\n"
    )
}

/// A `ClusterNetworkPolicy`.
pub(crate) fn cnp(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
         metadata: {{name: {name:?}}}\nspec: {spec}\n"
    )
}

/// One of the kinds of v1alpha1.
pub(crate) fn v1alpha1(kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: {kind}\n\
         metadata: {{name: {name:?}}}\nspec: {spec}\n"
    )
}

pub(crate) fn id(text: &str) -> PodId {
    let (namespace, name) = text.split_once('/').unwrap();
    PodId {
        namespace: namespace.into(),
        name: name.into(),
    }
}

/// `a=b,c=d`; `-` is none.
pub(crate) fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

fn addresses(text: &str) -> Vec<IpAddr> {
    let addresses = text.split(',').filter(|address| *address != "-");
    addresses.map(|address| address.parse().unwrap()).collect()
}

fn protocol(text: &str) -> PortProtocol {
    match text {
        "tcp" => PortProtocol::Tcp,
        "udp" => PortProtocol::Udp,
        "sctp" => PortProtocol::Sctp,
        _ => panic!("{text}"),
    }
}

pub(crate) fn number(text: &str) -> u8 {
    match text {
        "icmp" => 1,
        "icmpv6" => 58,
        _ => protocol(text).number(),
    }
}

/// `80/tcp/http`; without a name it is none.
fn named_port(text: &str) -> Option<NamedPort> {
    let words: Vec<&str> = text.split('/').collect();
    let [port, of, name] = words[..] else {
        return None;
    };
    Some(NamedPort {
        name: name.into(),
        protocol: protocol(of),
        port: port.parse().unwrap(),
    })
}

/// `80/tcp=8080` or `80/tcp=http`, and `:30080` after it for a node port.
fn service_port(text: &str) -> ServicePort {
    let (text, node_port) = text.split_once(':').unwrap_or((text, ""));
    let (listens, target) = text.split_once('=').unwrap();
    let (port, of) = listens.split_once('/').unwrap();
    ServicePort {
        name: port.into(),
        protocol: protocol(of),
        port: port.parse().unwrap(),
        target: match target.parse() {
            Ok(number) => TargetPort::Number(number),
            Err(_) => TargetPort::Name(target.into()),
        },
        node_port: node_port.parse().ok(),
    }
}

//! What becomes of what `kubectl` prints.

#![expect(clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{net::IpAddr, sync::Arc};

use super::{Backend, Listing, PodId, TargetPort, read};
use crate::policy::{Problem, model::PortProtocol, rules};

fn of(text: &str) -> Listing {
    read([(Arc::from("cluster.yaml"), text)])
}

fn id(namespace: &str, name: &str) -> PodId {
    PodId {
        namespace: namespace.into(),
        name: name.into(),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

fn rules(listing: &Listing) -> Vec<(&str, u32)> {
    let problems = listing.problems.iter();
    let known = |it: &Problem| {
        assert!(rules::meaning(it.rule).is_some(), "{}", it.rule);
        (it.rule, it.place.line)
    };
    problems.map(known).collect()
}

#[test]
fn a_pod_and_its_namespace() {
    let listing = of("apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, empty: null}, uid: x}
spec:
  nodeName: node-1
  containers:
  - name: web
    ports: [{name: http, containerPort: 80}, {containerPort: 81}]
  initContainers:
  - name: proxy
    restartPolicy: Always
    ports: [{name: metrics, containerPort: 9090, protocol: UDP}]
  - name: setup
    ports: [{name: setup, containerPort: 1}]
status:
  phase: Running
  hostIP: 192.0.2.1
  hostIPs: [{ip: 192.0.2.1}, {ip: '2001:db8::1'}]
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]
");
    assert_eq!(listing.problems, []);
    let pod = &listing.inventory.pods[&id("shop", "web-1")];
    assert_eq!(pod.addresses, [ip("10.0.0.1"), ip("fd00::1")]);
    assert_eq!(pod.host_addresses, [ip("192.0.2.1"), ip("2001:db8::1")]);
    assert_eq!(pod.node.as_deref(), Some("node-1"));
    assert!(!pod.host_network);
    assert_eq!(pod.labels["app"].as_ref(), "web");
    assert_eq!(pod.labels["empty"].as_ref(), "");
    let ports: Vec<_> = pod
        .ports
        .iter()
        .map(|it| (&*it.name, it.protocol, it.port))
        .collect();
    assert_eq!(
        ports,
        [
            ("http", PortProtocol::Tcp, 80),
            ("metrics", PortProtocol::Udp, 9090)
        ]
    );
    assert!(listing.inventory.namespaces.is_empty());
}

#[test]
fn a_completed_pod_frees_its_address() {
    let pod = |name: &str, phase: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{{more}}}\nstatus: {{phase: {phase}, podIP: 10.0.0.1}}\n---\n"
        )
    };
    let fine = pod("a", "Succeeded", "") + &pod("b", "Failed", "") + &pod("c", "Running", "");
    let listing = of(&fine);
    assert_eq!(listing.problems, []);
    assert!(
        listing.inventory.pods[&id("default", "a")]
            .addresses
            .is_empty()
    );
    assert_eq!(
        listing.inventory.pods[&id("default", "c")].addresses,
        [ip("10.0.0.1")]
    );
    let listing = of(&(fine.clone() + &pod("d", "Running", "hostNetwork: true")));
    assert_eq!(listing.problems, []);
    let listing = of(&(fine + &pod("d", "Pending", "")));
    assert_eq!(rules(&listing), [("shared-address", 19)]);
}

#[test]
fn services_and_who_answers_for_them() {
    let listing = of("apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec:
    clusterIP: 10.96.0.1
    clusterIPs: [10.96.0.1, 'fd00:96::1']
    externalIPs: [198.51.100.1]
    selector: {app: web}
    ports:
    - {name: http, port: 80, targetPort: http, nodePort: 30080, protocol: TCP}
    - {name: dns, port: 53, protocol: UDP}
  status: {loadBalancer: {ingress: [{ip: 203.0.113.1}, {hostname: lb.example}]}}
- apiVersion: v1
  kind: Service
  metadata: {name: headless, namespace: shop}
  spec: {clusterIP: None, clusterIPs: [None], ports: [{port: 1, targetPort: 2}]}
- apiVersion: v1
  kind: Endpoints
  metadata: {name: headless, namespace: shop}
  subsets:
  - {addresses: [{ip: 10.0.0.1}], notReadyAddresses: [{ip: 10.0.0.2}], ports: [{port: 2}]}
- apiVersion: v1
  kind: Endpoints
  metadata: {name: web, namespace: shop}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  endpoints: [{addresses: [10.0.0.3], conditions: {ready: null}}, {addresses: [10.0.0.4], conditions: {ready: false}}]
  ports: [{name: http, port: 8080, protocol: TCP}]
");
    assert_eq!(listing.problems, []);
    let web = &listing.inventory.services[&id("shop", "web")];
    let addresses = ["10.96.0.1", "fd00:96::1", "198.51.100.1", "203.0.113.1"].map(ip);
    assert_eq!(web.addresses, addresses);
    assert_eq!(web.ports[0].target, TargetPort::Name("http".into()));
    assert_eq!(web.ports[0].node_port, Some(30080));
    assert_eq!(web.ports[1].target, TargetPort::Number(53));
    let backend = |address, ready| Backend {
        address: ip(address),
        port_name: "http".into(),
        protocol: PortProtocol::Tcp,
        port: 8080,
        ready,
    };
    let slices = vec![backend("10.0.0.3", true), backend("10.0.0.4", false)];
    assert_eq!(web.endpoints, Some(slices));
    let headless = &listing.inventory.services[&id("shop", "headless")];
    assert!(headless.addresses.is_empty());
    assert_eq!(headless.selector, None);
    let ready: Vec<_> = headless
        .endpoints
        .iter()
        .flatten()
        .map(|it| it.ready)
        .collect();
    assert_eq!(ready, [true, false]);
}

#[test]
fn nodes_and_namespaces() {
    let listing = of("apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {zone: a}}
spec: {podCIDR: 10.0.1.0/24, podCIDRs: [10.0.1.0/24, 'fd00:1::/64']}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: Hostname, address: node-1}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: v1
kind: Secret
metadata: {name: x}
");
    assert_eq!(listing.problems, []);
    let node = &listing.inventory.nodes["node-1"];
    assert_eq!(node.addresses, [ip("192.0.2.1")]);
    let networks: Vec<_> = node.pod_networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.1.0/24", "fd00:1::/64"]);
    let name = &listing.inventory.namespaces["shop"]["kubernetes.io/metadata.name"];
    assert_eq!(&**name, "shop");
    assert_eq!(listing.inventory.namespaces["shop"].len(), 2);
    assert_eq!(listing.others["Secret"], 1);
}

#[test]
fn broken_objects_are_told_and_hide_nothing() {
    let listing = of("apiVersion: v1
kind: Pod
metadata: {labels: {}}
---
apiVersion: v1
kind: Pod
metadata: {name: a}
status: {podIP: nowhere}
---
apiVersion: v1
kind: Pod
metadata: {name: b}
---
apiVersion: v1
kind: Pod
metadata: {name: b, labels: {a: b}}
---
{
");
    let want = [
        ("broken-object", 1),
        ("broken-object", 5),
        ("duplicate-object", 14),
        ("syntax", 19),
    ];
    assert_eq!(rules(&listing), want);
    assert_eq!(listing.inventory.pods.len(), 1);
}

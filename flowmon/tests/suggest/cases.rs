//! What becomes of one thing at a time.

use flowmon::{
    audit::Flow,
    model::{Direction, Icmp},
    policy::{Inventory, inventory::Pod, model::Tier},
    suggest::Format,
};

use crate::world::{cluster, flow, id, ip, merged, named, pod, policies, suggestion, written};

const CART: &str = "10.1.0.5";
const REDIS: &str = "10.1.0.9";

fn shop() -> Inventory {
    let mut inventory = cluster();
    pod(
        &mut inventory,
        "shop/cart-0",
        CART,
        "app=cart,pod-template-hash=5c6",
        "",
    );
    pod(
        &mut inventory,
        "shop/redis-0",
        REDIS,
        "app=redis",
        "StatefulSet/redis",
    );
    inventory
}

fn out(protocol: u8, from: (&str, u16), to: (&str, u16)) -> Flow {
    flow(
        Direction::Egress,
        protocol,
        (ip(from.0), from.1),
        (ip(to.0), to.1),
    )
}

/// The rules and the comments, of nothing but questions none.
fn asks(flows: &[Flow], inventory: &Inventory, what: &str) {
    let suggestion = suggestion(flows, inventory);
    let (rules, questions) = suggestion.yaml.split_once("# QUESTIONS").unwrap();
    assert!(questions.contains(what), "{}", suggestion.yaml);
    assert!(!rules.contains("ports:"), "{rules}");
    assert_eq!(suggestion.open, flows.len() as u64);
}

#[test]
fn names_and_hashes_are_no_labels() {
    let yaml = suggestion(&[out(6, (CART, 40000), (REDIS, 6379))], &shop()).yaml;
    let code: Vec<&str> = yaml
        .lines()
        .filter(|line| !line.trim().starts_with('#'))
        .collect();
    let code = code.join("\n");
    assert!(
        !code.contains("cart-0") && !code.contains("redis-0"),
        "{code}"
    );
    assert!(!code.contains("hash"), "{code}");
    assert!(
        code.contains("app: cart") && code.contains("app: redis"),
        "{code}"
    );
}

#[test]
fn who_was_not_watched_gets_no_policy_and_is_told() {
    let suggestion = suggestion(&[out(6, (CART, 40000), (REDIS, 6379))], &shop());
    assert_eq!((suggestion.policies, suggestion.open), (1, 0));
    let told = "# NOT WATCHED, so without a policy here: these were seen by their peers only.\n\
                # - shop/redis (1 flow)\n";
    assert!(suggestion.yaml.contains(told), "{}", suggestion.yaml);
}

#[test]
fn one_owner_is_one_workload_by_what_its_pods_have_in_common() {
    let mut inventory = shop();
    for (number, version) in ["v1", "v2"].into_iter().enumerate() {
        let (name, address) = (format!("shop/web-{number}"), format!("10.1.0.2{number}"));
        let labels = format!("app=web,version={version}");
        pod(&mut inventory, &name, &address, &labels, "Deployment/web");
    }
    let flows = [out(6, ("10.1.0.20", 40000), (REDIS, 6379))];
    let yaml = suggestion(&flows, &inventory).yaml;
    assert!(
        yaml.contains("# shop/web (Deployment web): recorded at 1 of 2 pods.\n"),
        "{yaml}"
    );
    assert!(
        yaml.contains("matchLabels:\n      app: web\n  policyTypes"),
        "{yaml}"
    );
}

#[test]
fn who_cannot_be_told_apart_is_one() {
    let mut inventory = shop();
    for (name, address) in [("a", "10.1.0.20"), ("b", "10.1.0.21")] {
        pod(
            &mut inventory,
            &format!("shop/{name}-0"),
            address,
            "app=x",
            &format!("Deployment/{name}"),
        );
    }
    let flows = [out(6, ("10.1.0.20", 40000), (REDIS, 6379))];
    let yaml = suggestion(&flows, &inventory).yaml;
    let head = "# shop/a (Deployment a, Deployment b): recorded at 1 of 2 pods.\n\
                # Their labels don't tell these apart, so all of them get the same.\n";
    assert!(yaml.contains(head), "{yaml}");
}

#[test]
fn an_ephemeral_port_is_a_service_only_if_there_is_reason_to_think_so() {
    let once = out(6, (CART, 40000), (REDIS, 50051));
    asks(std::slice::from_ref(&once), &shop(), "is 50051 a service?");
    // One connection that was seen at both of its ends was asked once.
    let same = flow(Direction::Ingress, 6, (ip(REDIS), 50051), (ip(CART), 40000));
    asks(&[once.clone(), same], &shop(), "is 50051 a service?");
    let again = out(6, (CART, 40001), (REDIS, 50051));
    let twice = suggestion(&[once.clone(), again], &shop());
    assert!(twice.yaml.contains("port: 50051"), "{}", twice.yaml);
    let mut declared = shop();
    let redis = declared.pods.get_mut(&id("shop", "redis-0")).unwrap();
    redis.ports.push(named("grpc", 50051));
    let once = suggestion(&[once], &declared);
    assert!(once.yaml.contains("port: 50051"), "{}", once.yaml);
    assert_eq!(once.open, 0);
}

#[test]
fn an_answer_is_no_question() {
    let late = flow(Direction::Ingress, 17, (ip(CART), 20000), (ip(REDIS), 53));
    asks(&[late], &shop(), "is it an answer?");
}

#[test]
fn what_is_not_known_is_asked() {
    let unknown = flow(Direction::Unknown, 6, (ip(CART), 40000), (ip(REDIS), 6379));
    asks(
        &[unknown],
        &shop(),
        "shop/cart-0 port 40000 - shop/redis-0 port 6379 tcp: who opened it?",
    );
    let ping = Flow {
        icmp: Some(Icmp {
            kind: 8,
            code: 0,
            id: Some(1),
        }),
        ..out(1, (CART, 1), (REDIS, 0))
    };
    asks(&[ping], &shop(), "What policies mean for it is not defined");
    asks(
        &[out(6, (CART, 1), ("10.1.9.9", 80))],
        &shop(),
        "unknown-pod",
    );
    let mut twins = shop();
    pod(&mut twins, "shop/twin", REDIS, "app=twin", "");
    asks(
        &[out(6, (CART, 1), (REDIS, 80))],
        &twins,
        "ambiguous-address",
    );
    let mut fragment = out(17, (CART, 1), (REDIS, 0));
    fragment.remote.as_mut().unwrap().port = None;
    asks(&[fragment], &shop(), "which port was asked?");
}

#[test]
fn a_stranger_gets_no_rule() {
    let mut named = out(6, (CART, 40000), ("172.17.0.2", 80));
    named.remote.as_mut().unwrap().name = Some("web".into());
    asks(&[named], &shop(), "The inventory does not have it");
    let elsewhere = suggestion(&[out(6, ("172.17.0.2", 40000), (CART, 80))], &shop());
    assert_eq!((elsewhere.policies, elsewhere.open), (0, 1));
}

#[test]
fn an_admin_policy_that_denies_is_not_argued_with() {
    let admin = "apiVersion: policy.networking.k8s.io/v1alpha1
kind: AdminNetworkPolicy
metadata: {name: no-redis}
spec:
  priority: 1
  subject: {namespaces: {}}
  egress: [{action: Deny, to: [{namespaces: {}}]}]
";
    let flows = [out(6, (CART, 40000), (REDIS, 6379))];
    let suggestion = merged(&flows, &shop(), admin);
    let asked = "is it wanted? AdminNetworkPolicy no-redis denies it";
    assert!(suggestion.yaml.contains(asked), "{}", suggestion.yaml);
    assert!(!suggestion.yaml.contains("ports:"), "{}", suggestion.yaml);
}

#[test]
fn a_name_of_a_policy_that_is_there_is_not_taken() {
    let deny = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: cart, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";
    let flows = [out(6, (CART, 40000), (REDIS, 6379))];
    let suggestion = merged(&flows, &shop(), deny);
    assert!(
        suggestion.yaml.contains("name: cart-2\n"),
        "{}",
        suggestion.yaml
    );
    // It is isolated already: only what is missing is about it, also where it was not watched.
    assert!(
        suggestion
            .yaml
            .contains("  policyTypes:\n  - Egress\n  egress:"),
        "{}",
        suggestion.yaml
    );
    assert!(
        suggestion.yaml.contains("name: redis\n"),
        "{}",
        suggestion.yaml
    );
}

#[test]
fn a_port_goes_by_its_name_where_pods_differ_about_the_number() {
    let mut inventory = shop();
    for (number, port) in [(0, 8080), (1, 8081)] {
        let name = format!("web-{number}");
        let address = format!("10.1.0.2{number}");
        pod(
            &mut inventory,
            &format!("shop/{name}"),
            &address,
            "app=web",
            "",
        );
        inventory
            .pods
            .get_mut(&id("shop", &name))
            .unwrap()
            .ports
            .push(named("http", port));
    }
    let yaml = suggestion(&[out(6, (CART, 40000), ("10.1.0.20", 8080))], &inventory).yaml;
    assert!(
        yaml.contains("- protocol: TCP\n      port: http\n"),
        "{yaml}"
    );
}

#[test]
fn neighbours_outside_are_one_network_with_the_evidence_beside_it() {
    let hosts = [
        "203.0.113.9",
        "203.0.113.10",
        "203.0.113.12",
        "203.0.113.14",
    ];
    let flows: Vec<Flow> = hosts
        .iter()
        .map(|to| out(6, (CART, 40000), (to, 443)))
        .collect();
    let yaml = suggestion(&flows, &shop()).yaml;
    assert_eq!(yaml.matches("cidr:").count(), 1, "{yaml}");
    assert!(yaml.contains("cidr: \"203.0.113.8/29\""), "{yaml}");
    let evidence = "  # TCP 443: 4 flows, 400 bytes, 4 addresses: \
                    203.0.113.9, 203.0.113.10, 203.0.113.12, 203.0.113.14\n";
    assert!(yaml.contains(evidence), "{yaml}");
}

#[test]
fn the_world_is_not_listed() {
    let flows: Vec<Flow> = (0..1100_u32)
        .map(|number| {
            let from = std::net::Ipv4Addr::from(0x0800_0000 + number * 65_536).into();
            flow(Direction::Ingress, 6, (ip(CART), 443), (from, 40000))
        })
        .collect();
    let few = suggestion(&flows[..40], &shop());
    assert!(few.yaml.contains("is it for everyone?"), "{}", few.yaml);
    assert_eq!((few.open, few.yaml.matches("cidr").count()), (0, 40));
    let many = suggestion(&flows, &shop());
    assert_eq!((many.open, many.yaml.matches("cidr").count()), (1100, 0));
    assert!(many.yaml.len() < 20_000, "{}", many.yaml);
}

#[test]
fn nothing_in_an_inventory_gets_out_of_its_place() {
    let evil = "x\n---\nkind: Evil\u{2028}\u{1b}[2J";
    let mut inventory = shop();
    let pod = Pod {
        labels: [(evil.into(), "a".into()), ("app".into(), evil.into())].into(),
        addresses: vec![ip("10.1.0.66")],
        ports: vec![named(evil, 80)],
        ..Pod::default()
    };
    inventory.pods.insert(id("shop", evil), pod.clone());
    let elsewhere = Pod {
        addresses: vec![ip("10.1.0.67")],
        ..pod
    };
    inventory.pods.insert(id(evil, evil), elsewhere);
    let flows = [
        out(6, ("10.1.0.66", 40000), (CART, 80)),
        out(6, ("10.1.0.67", 40000), (CART, 80)),
        out(6, (CART, 40000), ("10.1.0.66", 80)),
        flow(Direction::Unknown, 6, (ip("10.1.0.66"), 1), (ip(CART), 2)),
    ];
    let yaml = suggestion(&flows, &inventory).yaml;
    assert!(
        yaml.bytes()
            .all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)),
        "{yaml}"
    );
    assert!(
        !yaml.lines().any(|line| line.starts_with("kind: Evil")),
        "{yaml}"
    );
    policies(&yaml);
}

fn clustered(flows: &[Flow], inventory: &Inventory) -> flowmon::suggest::Suggestion {
    written(flows, inventory, Format::ClusterNetworkPolicy)
}

#[test]
fn a_cluster_network_policy_accepts_what_was_seen_then_denies() {
    let flows = [out(6, (CART, 40000), (REDIS, 6379))];
    let suggestion = clustered(&flows, &shop());
    assert_eq!((suggestion.policies, suggestion.open), (1, 0));
    let spec = "  tier: Baseline
  priority: 1000
  subject:
    pods:
      namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: shop
      podSelector:
        matchLabels:
          app: cart
  ingress:
  - action: Deny
    from:
    - namespaces: {}
  egress:
  # TCP 6379: 1 flow, 100 bytes
  - action: Accept
    to:
    - pods:
        namespaceSelector:
          matchLabels:
            kubernetes.io/metadata.name: shop
        podSelector:
          matchLabels:
            app: redis
    protocols:
    - tcp:
        destinationPort:
          number: 6379
  - action: Deny
    to:
    - networks:
      - \"0.0.0.0/0\"
      - \"::/0\"
";
    assert!(suggestion.yaml.contains(spec), "{}", suggestion.yaml);
    assert!(
        suggestion.yaml.contains("stays open"),
        "{}",
        suggestion.yaml
    );
}

#[test]
fn what_is_too_much_for_one_cluster_network_policy_comes_in_several() {
    let mut inventory = shop();
    let mut flows: Vec<Flow> = (0..60)
        .map(|number| {
            let address = format!("10.1.2.{number}");
            let (name, labels) = (format!("shop/p{number}-0"), format!("app=p{number}"));
            pod(&mut inventory, &name, &address, &labels, "");
            out(6, (CART, 40000), (&address, 80))
        })
        .collect();
    // 40 networks in one rule, and 30 ports.
    flows.extend((0..40).map(|number| {
        let address = format!("203.0.{number}.1");
        out(6, (CART, 40000), (&address, 443))
    }));
    flows.extend((1..31).map(|port| out(17, (CART, 40000), (REDIS, port))));
    let suggestion = clustered(&flows, &inventory);
    let set = policies(&suggestion.yaml);
    let tiers: Vec<Tier> = set.policies.iter().map(|policy| policy.tier).collect();
    let baseline = |priority| Tier::Baseline { priority };
    assert_eq!(tiers, [baseline(998), baseline(999), baseline(1000)]);
    assert_eq!((suggestion.policies, suggestion.open), (3, 0));
}

#[test]
fn what_a_cluster_network_policy_would_deny_is_asked() {
    let ping = Flow {
        icmp: Some(Icmp {
            kind: 8,
            code: 0,
            id: Some(1),
        }),
        ..out(1, (CART, 1), (REDIS, 0))
    };
    let suggestion = clustered(&[ping], &shop());
    assert_eq!((suggestion.policies, suggestion.open), (1, 1));
    let asked =
        "shop/cart-0 -> shop/redis-0 icmp/0: is it wanted? A rule without ports would allow it";
    assert!(suggestion.yaml.contains(asked), "{}", suggestion.yaml);
}

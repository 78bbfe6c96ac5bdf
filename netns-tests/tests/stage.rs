//! Everybody on a stage reaches everybody, from each address and by each kind of probe.

use std::{error::Error, net::IpAddr};

use flowmon::lab::{
    Namespace, Stage,
    stage::{Party, Plan, is_fit},
    traffic::{Kind, Probe, probe},
};
use netns_tests::require_root;

type TestResult = Result<(), Box<dyn Error>>;

fn party(name: &str, addresses: &[&str]) -> Party {
    Party {
        name: name.to_owned(),
        addresses: addresses.iter().filter_map(|it| it.parse().ok()).collect(),
    }
}

#[test]
fn everybody_reaches_everybody() -> TestResult {
    if !require_root("everybody_reaches_everybody") {
        return Ok(());
    }
    let plan = Plan {
        nodes: vec![
            (
                party("first", &["172.16.0.1", "fd16::1"]),
                vec![
                    party("a", &["10.244.0.7", "fd00::a"]),
                    // Of networks that have nothing to do with one another.
                    party("b", &["192.168.9.9", "2001:db8::b"]),
                ],
            ),
            (party("second", &[]), vec![party("c", &["10.244.0.8"])]),
        ],
        outside: vec![
            party("resolver", &["8.8.8.8"]),
            party("metadata", &["169.254.169.254", "2001:db8:ffff::1"]),
        ],
    };
    let stage = Stage::new(&plan)?;
    let mut everybody: Vec<(&Namespace, &Party)> = Vec::new();
    for ((lab, pods), (node, parties)) in stage.nodes.iter().zip(&plan.nodes) {
        everybody.push((lab.node(), node));
        everybody.extend(pods.iter().map(|pod| &pod.namespace).zip(parties));
    }
    everybody.extend(stage.outside.iter().zip(&plan.outside));
    let mut probes = 0;
    for (client, from) in &everybody {
        for (server, to) in everybody.iter().filter(|(_, to)| to.name != from.name) {
            for &source in &from.addresses {
                let same_family = |it: &&IpAddr| it.is_ipv4() == source.is_ipv4();
                for &target in to.addresses.iter().filter(same_family) {
                    for kind in [Kind::Tcp(80), Kind::Udp(53), Kind::Sctp(3868), Kind::Echo] {
                        let passed = probe(&Probe {
                            client,
                            source,
                            server,
                            target,
                            kind,
                        })?;
                        assert_eq!(passed.client.ip(), source);
                        assert_eq!(passed.server.ip(), target);
                        probes += 1;
                    }
                }
            }
        }
    }
    // Six have IPv4 addresses, four IPv6 addresses.
    assert_eq!(probes, (6 * 5 + 4 * 3) * 4);
    Ok(())
}

#[test]
fn addresses_that_nobody_can_have_are_not_fit() -> TestResult {
    for (address, expected) in [
        ("10.0.0.1", true),
        ("169.254.169.254", true),
        ("fd00::1", true),
        ("127.0.0.1", false),
        ("0.0.0.1", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
        ("169.254.255.1", false),
        ("::1", false),
        ("::", false),
        ("fe80::7", false),
        ("ff02::1", false),
        ("::ffff:10.0.0.1", false),
    ] {
        assert_eq!(is_fit(address.parse()?), expected, "{address}");
    }
    Ok(())
}
